"""``LLM``: vLLM's offline pooling API over an ONNX bundle.

Signatures follow vLLM 0.11 (the seed page: ``embed classify score reward encode``); names that
0.32 added are accepted beside them. Arrays are numpy, not torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..poolers.parts import InputType
from ..poolers.pooler_config import PoolerConfig
from ..poolers.spec import TASKS, Convert, PoolingSpec, Runner, Task
from .autoexport import open_model
from .config import RuntimeConfig
from .errors import InputError
from .opening import open_engine
from .options import from_env
from .outputs import (
    ClassificationOutput,
    ClassificationRequestOutput,
    EmbeddingOutput,
    EmbeddingRequestOutput,
    PoolingOutput,
    PoolingRequestOutput,
    ScoringRequestOutput,
)
from .pairs import PairOptions
from .params import PoolingParams
from .prompts import parse_prompts
from .requests import CallOptions, Params, Rows, UseTqdm, run
from .scoring import score
from .vector_methods import VectorMethods


class LLM(VectorMethods):
    """A pooling model, opened from a bundle (or from a checkpoint, exported once into a cache).

    Attributes:
        engine: the loaded tokenizer and graph.
        spec: the resolved pooling head.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        runner: Runner = "auto",
        convert: Convert = "auto",
        pooler_config: PoolerConfig | Mapping[str, Any] | None = None,
        hf_overrides: Mapping[str, Any] | None = None,
        trust_remote_code: bool = False,
        revision: str | None = None,
        max_model_len: int | None = None,
        device: str | None = None,
        precision: str | None = None,
        threads: int | None = None,
        max_batch_tokens: int | None = None,
        max_batch_size: int | None = None,
        streams: int | None = None,
        memory_limit: int | None = None,
    ) -> None:
        """Open a model.

        Args:
            model: bundle folder, checkpoint folder, or Hub id.
            runner: vLLM's runner; only ``auto`` and ``pooling`` make sense here.
            convert: adapter for a checkpoint; a bundle already has one.
            pooler_config: head overrides; of a bundle, those that the host computes (``overrides.py``).
            hf_overrides: config overrides; of a bundle, ``is_matryoshka`` and ``matryoshka_dimensions``.
            trust_remote_code: allow a checkpoint's own code, during export only.
            revision: Hub revision of a checkpoint.
            max_model_len: lower the longest input, in tokens.
            device: see ``RuntimeConfig``; so are the options that follow, where 0 is automatic.
            precision: which graph of the bundle to run.
            threads: compute threads.
            streams: forward passes at once.
            max_batch_tokens: padded tokens a forward pass.
            max_batch_size: texts a forward pass.
            memory_limit: resident bytes of the process to stay below.

        Raises:
            BundleError: the bundle is missing, damaged, or cannot honour an export option.
            ProviderError: the device is not available.
            InputError: a bad option value.
            MissingExtraError: a checkpoint was given and the export extra is not installed.
        """
        where = {"device": device, "precision": precision, "threads": threads, "streams": streams}
        batches = {"max_batch_tokens": max_batch_tokens, "max_batch_size": max_batch_size}
        config = from_env(RuntimeConfig, **where, **batches, memory_limit=memory_limit)
        bundle = open_model(
            str(model),
            runner="auto" if runner == "pooling" else runner,
            convert=convert,
            pooler_config=pooler_config,
            hf_overrides=hf_overrides,
            trust_remote_code=trust_remote_code,
            revision=revision,
        )
        self.engine = open_engine(bundle, config, max_model_len)
        self.spec: PoolingSpec = self.engine.bundle.manifest.pooling

    def embed(
        self,
        prompts: Any,
        *,
        truncate_prompt_tokens: int | None = None,
        use_tqdm: UseTqdm = True,
        pooling_params: Params = None,
        lora_request: object | None = None,
        tokenization_kwargs: Mapping[str, Any] | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
    ) -> list[EmbeddingRequestOutput]:
        """Embed prompts.

        Args:
            prompts: a string, token ids, a prompt dict, or a list of these.
            truncate_prompt_tokens: keep at most this many tokens (-1: the model's limit);
                ``None`` makes over-long input an error.
            use_tqdm: show a progress bar when there is more than one text; or a callable that
                makes one.
            pooling_params: one for all prompts, or one a prompt.
            lora_request: accepted for vLLM callers as long as it is ``None``.
            tokenization_kwargs: vLLM 0.32's place for what concerns the tokenizer (``tokenization.py``).
            prompt_name: which of the model's prompts goes before every text.
            prompt: text that goes before every text instead; ``""`` for none. With neither, the
                checkpoint's own default prompt is used (``prompting.py``).

        Returns:
            One output a prompt, in order.

        Raises:
            InputError: the model does not embed, or a prompt or parameter cannot be served.
        """
        options = CallOptions(truncate_prompt_tokens, use_tqdm, lora_request, tokenization_kwargs)
        texts = self._with_prompt(prompts, prompt, prompt_name)
        rows = run(self.engine, "embed", texts, pooling_params, options)
        return [
            EmbeddingRequestOutput(request_id=str(i), prompt_token_ids=item.ids, outputs=EmbeddingOutput(value))
            for i, (item, value) in enumerate(rows)
        ]

    def classify(
        self,
        prompts: Any,
        *,
        truncate_prompt_tokens: int | None = None,
        use_tqdm: UseTqdm = True,
        pooling_params: Params = None,
        lora_request: object | None = None,
        tokenization_kwargs: Mapping[str, Any] | None = None,
    ) -> list[ClassificationRequestOutput]:
        """Classify prompts; arguments as ``embed``. ``probs`` has one number a label."""
        options = CallOptions(truncate_prompt_tokens, use_tqdm, lora_request, tokenization_kwargs)
        rows = run(self.engine, "classify", parse_prompts(prompts), pooling_params, options)
        return [
            ClassificationRequestOutput(
                request_id=str(i), prompt_token_ids=item.ids, outputs=ClassificationOutput(value)
            )
            for i, (item, value) in enumerate(rows)
        ]

    def reward(
        self,
        prompts: Any,
        *,
        truncate_prompt_tokens: int | None = None,
        use_tqdm: UseTqdm = True,
        pooling_params: Params = None,
        lora_request: object | None = None,
        tokenization_kwargs: Mapping[str, Any] | None = None,
    ) -> list[PoolingRequestOutput]:
        """Rewards of prompts; arguments as ``embed``. ``data`` is ``[num_tokens, k]`` (STEP: ``[num_steps, k]``)."""
        options = CallOptions(truncate_prompt_tokens, use_tqdm, lora_request, tokenization_kwargs)
        rows = run(self.engine, "reward", parse_prompts(prompts), pooling_params, options)
        return _pooling_outputs(rows)

    def encode(
        self,
        prompts: Any,
        pooling_params: Params = None,
        *,
        truncate_prompt_tokens: int | None = None,
        use_tqdm: UseTqdm = True,
        lora_request: object | None = None,
        pooling_task: Task | None = None,
        tokenization_kwargs: Mapping[str, Any] | None = None,
        input_type: InputType | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
    ) -> list[PoolingRequestOutput]:
        """Run any pooling task and return its array.

        Args:
            prompts: as ``embed``.
            pooling_params: as ``embed``.
            truncate_prompt_tokens: as ``embed``.
            use_tqdm: as ``embed``.
            lora_request: as ``embed``.
            pooling_task: ``embed``, ``classify``, ``reward``, ``token_embed``, ``token_classify``,
                ``sparse_embed`` or ``encode`` (token states as they are); ``None`` takes the model's primary task.
            tokenization_kwargs: as ``embed``.
            input_type: ``query`` or ``document``: read the texts as a late-interaction checkpoint declares
                (markers, query expansion, lengths, skiplist); ``None`` reads them as they are, as vLLM does.
            prompt_name: as ``embed``.
            prompt: as ``embed``.

        Raises:
            InputError: as ``embed``; or an unknown task.
        """
        task = self.spec.tasks[0] if pooling_task is None else pooling_task
        if task not in TASKS or task == "score":
            valid = [name for name in TASKS if name != "score"]
            raise InputError(f"pooling_task must be one of {valid}, got {task!r}")
        options = CallOptions(truncate_prompt_tokens, use_tqdm, lora_request, tokenization_kwargs, input_type)
        rows = run(self.engine, task, self._with_prompt(prompts, prompt, prompt_name), pooling_params, options)
        return _pooling_outputs(rows)

    def score(
        self,
        data_1: Any,
        data_2: Any,
        /,
        *,
        truncate_prompt_tokens: int | None = None,
        use_tqdm: UseTqdm = True,
        pooling_params: PoolingParams | None = None,
        lora_request: object | None = None,
        tokenization_kwargs: Mapping[str, Any] | None = None,
        chat_template: str | None = None,
        instruction: str | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        max_tokens_per_query: int = 0,
        max_tokens_per_doc: int = 0,
        query_prompt_name: str | None = None,
        document_prompt_name: str | None = None,
    ) -> list[ScoringRequestOutput]:
        """Score pairs of texts: 1:1, 1:N or N:N.

        A cross-encoder (one label) reads the pair as one input, through the bundle's score template
        if it has one; an embedding model answers the similarity that its checkpoint names (cosine
        unless it says else), a sparse one the dot product, late interaction MaxSim.

        The first five keywords are as in ``embed``; the others are described at ``pairs.PairOptions``.

        Raises:
            InputError: another cardinality, a model that cannot score, or an option it cannot use.
        """
        options = CallOptions(truncate_prompt_tokens, use_tqdm, lora_request, tokenization_kwargs)
        pairing = PairOptions(
            chat_template=chat_template,
            instruction=instruction,
            chat_template_kwargs=chat_template_kwargs,
            max_tokens_per_query=max_tokens_per_query,
            max_tokens_per_doc=max_tokens_per_doc,
            query_prompt_name=query_prompt_name,
            document_prompt_name=document_prompt_name,
        )
        return score(self.engine, data_1, data_2, pooling_params, options, pairing)


def _pooling_outputs(rows: Rows) -> list[PoolingRequestOutput]:
    return [
        PoolingRequestOutput(request_id=str(i), prompt_token_ids=item.ids, outputs=PoolingOutput(value))
        for i, (item, value) in enumerate(rows)
    ]
