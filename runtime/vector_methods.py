"""The methods of ``LLM`` that vLLM does not have: streams, sparse vectors, every kind of vector at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..poolers.parts import InputType
from ..poolers.spec import PoolingSpec
from .engine import Engine
from .errors import InputError
from .outputs import (
    AllEmbeddingsRequestOutput,
    EmbeddingOutput,
    EmbeddingRequestOutput,
    SparseEmbeddingRequestOutput,
)
from .params import PoolingParams
from .prompting import with_prompt
from .prompts import Prompt, parse_prompts
from .requests import CallOptions, Params, Rows, UseTqdm, answer, encode, prepare
from .streaming import WINDOW, in_windows
from .tokens import Encoded
from .vectors import embed_all, embed_sparse, named


class VectorMethods:
    """Base of ``LLM``, which opens the engine."""

    engine: Engine
    spec: PoolingSpec

    def embed_iter(
        self,
        prompts: Iterable[Any],
        *,
        window: int = WINDOW,
        truncate_prompt_tokens: int | None = None,
        pooling_params: PoolingParams | None = None,
        tokenization_kwargs: Mapping[str, Any] | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
    ) -> Iterator[EmbeddingRequestOutput]:
        """Embed prompts one after the other, in bounded memory; other arguments as ``embed``.

        Args:
            prompts: any iterable, a file or a generator say; read as its results are taken.
            window: prompts that are sorted and run together, and at most two windows of them are held.
            truncate_prompt_tokens: as ``embed``.
            pooling_params: as ``embed``; one for all.
            tokenization_kwargs: as ``embed``.
            prompt_name: as ``embed``.
            prompt: as ``embed``.

        Raises:
            InputError: as ``embed``, once the results of the windows before it were taken.
        """
        if isinstance(prompts, str | Mapping):
            raise InputError("embed_iter takes an iterable of prompts; for a single one use embed")
        options = CallOptions(truncate_prompt_tokens, tokenization_kwargs=tokenization_kwargs)

        def prepared(items: list[Any]) -> tuple[Sequence[PoolingParams], list[Encoded]]:
            texts = self._with_prompt(items, prompt, prompt_name)
            each = prepare(self.engine, "embed", texts, pooling_params)
            return each, encode(self.engine, texts, each, options)

        def rows(window: tuple[Sequence[PoolingParams], list[Encoded]]) -> Rows:
            return answer(self.engine, "embed", *window, options)

        return (
            EmbeddingRequestOutput(request_id=str(i), prompt_token_ids=item.ids, outputs=EmbeddingOutput(value))
            for i, (item, value) in enumerate(in_windows(prompts, prepared, rows, window))
        )

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
