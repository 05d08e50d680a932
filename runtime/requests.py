"""From parsed prompts to arrays: the one path every offline call (and every server route) takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..poolers.spec import PoolingSpec, Task
from .engine import Engine
from .errors import InputError
from .image_engine import check_images
from .params import PoolingParams, check_params
from .postprocess import finish, required_output
from .prompts import Prompt
from .tokens import Encoded

Params = PoolingParams | Sequence[PoolingParams] | None
UseTqdm = bool | Callable[..., Any]
Rows = list[tuple[Encoded, np.ndarray]]

_TOKENIZATION_KEYS = frozenset({"truncate_prompt_tokens", "add_special_tokens"})

_UNSUPPORTED: dict[str, str] = {
    "embed": "Embedding API is not supported by this model. Try converting the model using `--convert embed`.",
    "token_embed": "Embedding API is not supported by this model. Try converting the model using `--convert embed`.",
    "classify": "Classification API is not supported by this model. Try converting the model using "
    "`--convert classify`.",
    "token_classify": "Token classification is not supported by this model. Try converting the model using "
    "`--convert classify` or `--convert reward`.",
    "reward": "Reward API is not supported by this model. Try converting the model using `--convert reward`.",
    "encode": "`encode` is not supported by this model: its graph has no token-level output.",
    "score": "This model does not support the Scoring API.",
}


class _Bar(Protocol):
    def update(self, n: int) -> object: ...

    def close(self) -> object: ...


@dataclass(frozen=True)
class CallOptions:
    """Options of one call that are not about the pooler.

    Attributes:
        truncate_prompt_tokens: keep at most this many tokens (-1: the model's limit); ``None``
            makes over-long input an error.
        use_tqdm: show a progress bar for more than one text; or a callable that makes one.
        lora_request: accepted for vLLM callers as long as it is ``None``.
        tokenization_kwargs: ``truncate_prompt_tokens`` and ``add_special_tokens``, where vLLM
            0.32 has them.
    """

    truncate_prompt_tokens: int | None = None
    use_tqdm: UseTqdm = False
    lora_request: object | None = None
    tokenization_kwargs: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        """Refuse what a bundle cannot do.

        Raises:
            InputError: an adapter, or an unknown key in ``tokenization_kwargs``.
        """
        if self.lora_request is not None:
            raise InputError("a bundle's weights are fixed: merge the LoRA adapter into the checkpoint and export that")
        if unknown := set(self.tokenization_kwargs or {}) - _TOKENIZATION_KEYS:
            raise InputError(
                f"tokenization_kwargs {sorted(unknown)} are not supported; use {sorted(_TOKENIZATION_KEYS)}"
            )

    def truncation(self) -> int | None:
        """The truncation asked for, wherever it was given."""
        if self.truncate_prompt_tokens is not None:
            return self.truncate_prompt_tokens
        value: int | None = (self.tokenization_kwargs or {}).get("truncate_prompt_tokens")
        return value

    def add_special_tokens(self) -> bool:
        """Whether the tokenizer adds its markers."""
        return bool((self.tokenization_kwargs or {}).get("add_special_tokens", True))


def require_task(task: Task, spec: PoolingSpec) -> None:
    """Refuse a task the model does not have.

    Raises:
        InputError: with vLLM's sentence for that task, and the tasks there are.
    """
    if task in spec.tasks:
        return
    why = _UNSUPPORTED[task]
    if (per_token := f"token_{task}") in spec.tasks:
        # The conversion is the right one already; it is the head that answers token by token.
        why = f"This model answers a row a token: use `LLM.encode(..., pooling_task={per_token!r})`."
    raise InputError(f"{why} Supported tasks: {', '.join(spec.tasks)}")


def run(engine: Engine, task: Task, prompts: list[Prompt], params: Params, options: CallOptions) -> Rows:
    """Check a request and run it.

    Returns:
        Per prompt: the tokens that were run and the result array (see ``postprocess.finish``).

    Raises:
        InputError: the task, a parameter or a prompt cannot be served.
        RuntimeFailure: the graph failed.
    """
    spec = engine.bundle.manifest.pooling
    require_task(task, spec)
    check_images(prompts, task, engine.bundle.manifest)
    each = _spread(params, len(prompts))
    for item in each:
        check_params(item, task, spec, engine.bundle.name)
    default = options.truncation()
    limits = [p.truncate_prompt_tokens if p.truncate_prompt_tokens is not None else default for p in each]
    encoded = engine.tokenizer.encode(prompts, limits, add_special_tokens=options.add_special_tokens())

    groups: dict[str, list[int]] = {}
    for index, item in enumerate(each):
        output = required_output(task, spec, engine.session.output_names, item)
        groups.setdefault(output, []).append(index)
    values: list[np.ndarray] = [np.empty(0, np.float32)] * len(encoded)
    with _progress_bar(options.use_tqdm, len(encoded)) as bar:
        for output, indices in groups.items():
            rows = engine.run([encoded[i] for i in indices], [output], bar.update if bar is not None else None)
            for index, row in zip(indices, rows, strict=True):
                values[index] = finish(task, spec, each[index], output, row[output], encoded[index].ids)
    return list(zip(encoded, values, strict=True))


def _spread(params: Params, count: int) -> Sequence[PoolingParams]:
    if params is None or isinstance(params, PoolingParams):
        return [params or PoolingParams()] * count
    if not isinstance(params, list | tuple) or not all(isinstance(item, PoolingParams) for item in params):
        raise InputError(f"pooling_params should be PoolingParams or a list of them, got {params!r:.80}")
    if len(params) != count:
        raise InputError(f"The lengths of prompts ({count}) and params ({len(params)}) must be the same.")
    return params


def _progress_bar(use_tqdm: UseTqdm, total: int) -> AbstractContextManager[_Bar | None]:
    """A bar on stderr for real batches; a single text answers before a bar could be read."""
    if not use_tqdm or (use_tqdm is True and total < 2):
        return nullcontext(None)
    if use_tqdm is True:
        from tqdm import tqdm

        make: Callable[..., Any] = tqdm
    else:
        make = use_tqdm
    return closing(make(total=total, desc="Processed prompts", unit=" prompts"))
