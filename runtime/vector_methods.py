"""The methods of ``LLM`` that vLLM does not have: sparse vectors, and every kind of vector at once."""

from __future__ import annotations

from typing import Any

from ..poolers.parts import InputType
from ..poolers.spec import PoolingSpec
from .engine import Engine
from .outputs import AllEmbeddingsRequestOutput, SparseEmbeddingRequestOutput
from .prompting import with_prompt
from .prompts import Prompt, parse_prompts
from .requests import CallOptions, Params, UseTqdm
from .vectors import embed_all, embed_sparse, named


class VectorMethods:
    """Base of ``LLM``, which opens the engine."""

    engine: Engine
    spec: PoolingSpec

    def embed_sparse(
        self,
        prompts: Any,
        *,
        max_active_dims: int | None = None,
        truncate_prompt_tokens: int | None = None,
        use_tqdm: UseTqdm = True,
        pooling_params: Params = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
    ) -> list[SparseEmbeddingRequestOutput]:
        """Embed prompts as weights per vocabulary entry (SPLADE, bge-m3); other arguments as ``embed``.

        Args:
            prompts: as ``embed``.
            max_active_dims: keep the largest so many weights of a text.
            truncate_prompt_tokens: as ``embed``.
            use_tqdm: as ``embed``.
            pooling_params: as ``embed``.
            prompt_name: as ``embed``.
            prompt: as ``embed``.
        """
        options = CallOptions(truncate_prompt_tokens, use_tqdm)
        rows = embed_sparse(
            self.engine, self._with_prompt(prompts, prompt, prompt_name), pooling_params, options, max_active_dims
        )
        return [
            SparseEmbeddingRequestOutput(
                request_id=str(i), prompt_token_ids=item.ids, outputs=named(self.engine, sparse)
            )
            for i, (item, sparse) in enumerate(rows)
        ]

    def embed_all(
        self,
        prompts: Any,
        *,
        truncate_prompt_tokens: int | None = None,
        use_tqdm: UseTqdm = True,
        pooling_params: Params = None,
        input_type: InputType | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
    ) -> list[AllEmbeddingsRequestOutput]:
        """Every kind of vector the model has for a text (bge-m3: dense, sparse, per token) from one pass of the graph.

        Arguments as ``embed`` and ``encode``.
        """
        options = CallOptions(truncate_prompt_tokens, use_tqdm, input_type=input_type)
        rows = embed_all(self.engine, self._with_prompt(prompts, prompt, prompt_name), pooling_params, options)
        return [
            AllEmbeddingsRequestOutput(request_id=str(i), prompt_token_ids=item.ids, outputs=vectors)
            for i, (item, vectors) in enumerate(rows)
        ]

    def _with_prompt(self, prompts: Any, prompt: str | None, prompt_name: str | None) -> list[Prompt]:
        return with_prompt(parse_prompts(prompts), self.engine.tokenizer.policy, self.spec, prompt, prompt_name)
