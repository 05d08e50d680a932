"""Write tiny random checkpoints: real Hugging Face folders of a few dozen kilobytes.

For tests, demos and architecture sweeps without a download. Deterministic: one seed, one set of
bytes. The families are rows of the tables in ``tiny_families``, ``tiny_encoders`` and ``tiny_decoders``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.utils import logging as transformers_logging

from ..poolers.errors import ConfigError, closest
from .tiny_decoders import DECODERS
from .tiny_encoders import ENCODERS
from .tiny_families import FAMILIES, TinyFamily
from .tiny_tokenizers import build_tokenizer, special_ids, write_tokenizer
from .tiny_weights import randomize

__all__ = [
    "ARCHITECTURES",
    "DECODERS",
    "ENCODERS",
    "FAMILIES",
    "HEADS",
    "MAX_LENGTH",
    "TinyFamily",
    "class_name",
    "heads_of",
    "write_tiny",
]

MAX_LENGTH = 128

# Everything there is a recipe for; ``FAMILIES`` are the representative ones among them.
ARCHITECTURES: dict[str, TinyFamily] = {**FAMILIES, **ENCODERS, **DECODERS}


@dataclass(frozen=True)
class _Head:
    ending: str
    labels: tuple[str, ...] = ()
    only_for: str = ""


HEADS: dict[str, _Head] = {
    "base": _Head("Model"),
    "causal_lm": _Head("ForCausalLM", only_for="decoder"),
    "masked_lm": _Head("ForMaskedLM", only_for="encoder"),
    "sequence_1": _Head("ForSequenceClassification", ("LABEL_0",)),
    "sequence_3": _Head("ForSequenceClassification", ("negative", "neutral", "positive")),
    "token_5": _Head("ForTokenClassification", ("O", "B-PERSON", "I-PERSON", "B-PLACE", "I-PLACE")),
}


def _family(name: str) -> TinyFamily:
    if name not in ARCHITECTURES:
        raise ConfigError(f"unknown tiny family {name!r}{closest(name, ARCHITECTURES)}")
    return ARCHITECTURES[name]


def _class_name(family: TinyFamily, head: str) -> str:
    return family.classes.get(head, family.stem + HEADS[head].ending)


def heads_of(family: str) -> tuple[str, ...]:
    """Return the heads of a family that the installed transformers has a class for.

    Raises:
        ConfigError: unknown family.
    """
    row = _family(family)
    kind = "decoder" if row.decoder else "encoder"
    return tuple(
        name
        for name, head in HEADS.items()
        if (not row.heads or name in row.heads)
        and head.only_for in ("", kind)
        and hasattr(transformers, _class_name(row, name))
    )


def class_name(family: str, head: str = "base") -> str:
    """Return the transformers class a checkpoint is written from and must be read with.

    Raises:
        ConfigError: unknown family, or a head it does not have.
    """
    row, heads = _family(family), heads_of(family)
    if head not in heads:
        raise ConfigError(f"tiny family {family!r} has no head {head!r}{closest(head, heads)}")
    return _class_name(row, head)


def _config_values(row: TinyFamily, *, head: str, hidden_size: int, layers: int) -> dict[str, Any]:
    labels = HEADS[head].labels
    layer_types = list(islice(cycle(row.layer_types), layers))
    values = {
        "hidden_size": hidden_size,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "max_position_embeddings": MAX_LENGTH + row.position_offset,
        **{name: int(factor * hidden_size) for name, factor in row.scaled.items()},
        **{f"{role}_token_id": None for role in ("pad", "bos", "eos", "cls", "sep")},
        **row.config,
        **({"layer_types": layer_types} if layer_types else {}),
        "vocab_size": build_tokenizer(row.tokenizer).get_vocab_size(),
        **{f"{role}_token_id": number for role, number in special_ids(row.tokenizer).items()},
        **({"id2label": dict(enumerate(labels))} if labels else {}),
        **({"label2id": {label: index for index, label in enumerate(labels)}} if labels else {}),
    }
    return {name: value for name, value in values.items() if name not in row.without}


@contextmanager
def _quiet() -> Iterator[None]:
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


def write_tiny(
    folder: str | Path,
    family: str,
    head: str = "base",
    *,
    seed: int = 0,
    hidden_size: int = 32,
    layers: int = 2,
    **config_overrides: Any,
) -> Path:
    """Write a checkpoint (``config.json``, ``model.safetensors``, tokenizer files) and return its folder.

    The same arguments give the same bytes. The global random state of torch is left alone.

    Args:
        folder: created where missing; files of the same names are replaced.
        family: a key of ``ARCHITECTURES``.
        head: one of ``heads_of(family)``.
        seed: chooses the weights.
        hidden_size: a multiple of 8 (four attention heads of even size).
        layers: number of layers.
        config_overrides: further ``config.json`` values. Unknown ones are written too, as real
            checkpoints carry such keys; ``num_labels`` alone replaces the head's label names.

    Raises:
        ConfigError: unknown family, a head it does not have, or a hidden size that does not divide.
    """
    model_class = getattr(transformers, class_name(family, head))
    if hidden_size < 8 or hidden_size % 8:
        raise ConfigError(f"hidden_size must be a positive multiple of 8, got {hidden_size}")
    row = _family(family)
    values = _config_values(row, head=head, hidden_size=hidden_size, layers=layers)
    if "num_labels" in config_overrides:
        values.pop("id2label", None)
        values.pop("label2id", None)
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = model_class(model_class.config_class(**{**values, **config_overrides}))
    randomize(model, seed=seed, gains=row.gains)
    with _quiet():
        model.save_pretrained(target)
    write_tokenizer(target, row.tokenizer, max_length=MAX_LENGTH)
    return target
