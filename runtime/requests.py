"""From parsed prompts to arrays: the one path every offline call (and every server route) takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from ..poolers.parts import InputType
from ..poolers.spec import PoolingSpec, Task
from .engine import PoolingEngine
from .errors import InputError
from .image_engine import check_images
from .late import check_input_type, encode_texts, kept_rows
from .params import PoolingParams, check_params
from .postprocess import finish, required_output
from .prompts import Prompt
from .tokenization import Tokenization, parse_tokenization
from .tokens import Encoded

Params = PoolingParams | Sequence[PoolingParams] | None
UseTqdm = bool | Callable[..., Any]
Rows = list[tuple[Encoded, np.ndarray]]

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
    "sparse_embed": "This model has no sparse vectors.",
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
        tokenization_kwargs: see ``tokenization.py``.
        input_type: which side of a search the texts are on, for models that read the two differently.
    """

    truncate_prompt_tokens: int | None = None
    use_tqdm: UseTqdm = False
    lora_request: object | None = None
    tokenization_kwargs: Mapping[str, Any] | None = None
    input_type: InputType | None = None

    def __post_init__(self) -> None:
        """Refuse what a bundle cannot do.

        Raises:
            InputError: an adapter, or a key in ``tokenization_kwargs``.
        """
        if self.lora_request is not None:
            raise InputError("a bundle's weights are fixed: merge the LoRA adapter into the checkpoint and export that")
        if self.tokenization_kwargs is not None and not isinstance(self.tokenization_kwargs, Mapping):
            raise InputError(f"tokenization_kwargs must be a mapping, got {self.tokenization_kwargs!r:.80}")
        _ = self.tokenization

    @cached_property
    def tokenization(self) -> Tokenization:
        """What ``tokenization_kwargs`` come to."""
        return parse_tokenization(self.tokenization_kwargs)

    def truncation(self) -> int | None:
        """The truncation asked for, wherever it was given."""
        value: int | None = self.tokenization.truncation
        return self.truncate_prompt_tokens if self.truncate_prompt_tokens is not None else value


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
        why = f"This model answers a row a token: use `LLM.encode(..., pooling_task={per_token!r})`, or POST /pooling."
    raise InputError(f"{why} Supported tasks: {', '.join(spec.tasks)}")


def run(engine: PoolingEngine, task: Task, prompts: list[Prompt], params: Params, options: CallOptions) -> Rows:
    """Check a request and run it.

    Returns:
        Per prompt: the tokens that were run and the result array (see ``postprocess.finish``).

    Raises:
        InputError: the task, a parameter or a prompt cannot be served.
        RuntimeFailure: the graph failed.
    """
    each = prepare(engine, task, prompts, params)
    return answer(engine, task, each, encode(engine, prompts, each, options), options)


def answer(
    engine: PoolingEngine,
    task: Task,
    each: Sequence[PoolingParams],
    encoded: Sequence[Encoded],
    options: CallOptions,
) -> Rows:
    """Run what was prepared and encoded; see ``run``."""
    spec = engine.bundle.manifest.pooling
    groups: dict[str, list[int]] = {}
    for index, item in enumerate(each):
        output = required_output(task, spec, engine.output_names, item)
        groups.setdefault(output, []).append(index)
    values: list[np.ndarray] = [np.empty(0, np.float32)] * len(encoded)
    with progress_bar(options.use_tqdm, len(encoded)) as bar:
        for output, indices in groups.items():
            rows = engine.run([encoded[i] for i in indices], [output], bar.update if bar is not None else None)
            for index, row in zip(indices, rows, strict=True):
                value = finish(task, spec, each[index], output, row[output], encoded[index].ids)
                values[index] = counted_rows(task, spec, value, encoded[index].ids, options.input_type)
    return list(zip(encoded, values, strict=True))


def prepare(engine: PoolingEngine, task: Task, prompts: list[Prompt], params: Params) -> Sequence[PoolingParams]:
    """Check the task and the parameters of a call; return one for every prompt.

    Raises:
        InputError: the model does not have the task, or a parameter that does not fit it.
    """
    spec = engine.bundle.manifest.pooling
    require_task(task, spec)
    check_images(prompts, task, engine.bundle.manifest)
    each = _spread(params, len(prompts))
    for item in each:
        check_params(item, task, spec, engine.bundle.name)
    return each


def encode(
    engine: PoolingEngine, prompts: list[Prompt], each: Sequence[PoolingParams], options: CallOptions
) -> list[Encoded]:
    """Tokenize the prompts of one call.

    Raises:
        InputError: a prompt, a truncation or an input type that cannot be served.
    """
    late, how = engine.bundle.manifest.pooling.late_interaction, options.tokenization
    check_input_type(options.input_type, late)
    default = options.truncation()
    limits = [p.truncate_prompt_tokens if p.truncate_prompt_tokens is not None else default for p in each]
    if how.lower_case:
        prompts = [_lowered(prompt) for prompt in prompts]
    if late is None or options.input_type is None:
        return engine.tokenizer.encode(prompts, limits, add_special_tokens=how.add_special_tokens, side=how.side)
    if not how.add_special_tokens or how.side != "right":
        raise InputError("input_type reads texts as the model was trained to: with special tokens, cut at the end")
    return encode_texts(engine.tokenizer, late, options.input_type, prompts, limits)


def _lowered(prompt: Prompt) -> Prompt:
    text, pair = (part.lower() if part is not None else None for part in (prompt.text, prompt.pair))
    return replace(prompt, text=text, pair=pair, unpooled=prompt.unpooled.lower())


def counted_rows(
    task: Task, spec: PoolingSpec, value: np.ndarray, ids: Sequence[int], input_type: InputType | None
) -> np.ndarray:
    """Leave out the token vectors that late interaction does not compare."""
    if task != "token_embed" or spec.late_interaction is None:
        return value
    counted: np.ndarray = value[kept_rows(spec.late_interaction, input_type, ids)]
    return counted


def _spread(params: Params, count: int) -> Sequence[PoolingParams]:
    if params is None or isinstance(params, PoolingParams):
        return [params or PoolingParams()] * count
    if not isinstance(params, list | tuple) or not all(isinstance(item, PoolingParams) for item in params):
        raise InputError(f"pooling_params should be PoolingParams or a list of them, got {params!r:.80}")
    if len(params) != count:
        raise InputError(f"The lengths of prompts ({count}) and params ({len(params)}) must be the same.")
    return params


def progress_bar(use_tqdm: UseTqdm, total: int) -> AbstractContextManager[_Bar | None]:
    """A bar on stderr for real batches; a single text answers before a bar could be read."""
    if not use_tqdm or (use_tqdm is True and total < 2):
        return nullcontext(None)
    if use_tqdm is True:
        from tqdm import tqdm

        make: Callable[..., Any] = tqdm
    else:
        make = use_tqdm
    return closing(make(total=total, desc="Processed prompts", unit=" prompts"))
