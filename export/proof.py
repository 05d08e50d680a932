"""Prove model cards on tiny checkpoints: the same config class, the card's settings, and nothing from a hub.

A tiny checkpoint carries weights, ``config.json`` and a tokenizer, and no sentence-transformers files, so that what
comes out of it can only be what the card put in.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from ..models_zoo.card import ModelCard
from ..models_zoo.tiny import ARCHITECTURES, MAX_LENGTH, class_name, write_tiny
from ..models_zoo.tiny_vision import VISION_FAMILIES, write_tiny_vision
from ..poolers.errors import ConfigError, PoolExportError
from ..poolers.resolve import resolve
from ..poolers.spec import PoolingSpec
from .known import mark_sources, with_card
from .pipeline import SilentReporter, export_model
from .quiet import quiet
from .request import ExportRequest
from .source import Source, open_source

_HEADS = {"ForCausalLM": "causal_lm", "ForMaskedLM": "masked_lm"}

# Classes that transformers lacks: the head's own tensors lie beside a backbone's. Name -> shape, `labels` and `hidden`
# being the card's and the backbone's.
_SCORE: dict[str, tuple[int | str, ...]] = {
    "score.0.weight": ("hidden", "hidden"),
    "score.0.bias": ("hidden",),
    "score.2.weight": ("labels", "hidden"),
    "score.2.bias": ("labels",),
}
OWN_HEADS: dict[str, dict[str, tuple[int | str, ...]]] = {
    "HF_ColBERT": {"linear.weight": (128, "hidden")},
    "Qwen2ForRewardModel": _SCORE,
    "Qwen2ForProcessRewardModel": _SCORE,
}


class _Quiet(SilentReporter):
    """Says nothing: what a card adds to a tiny checkpoint is known."""

    def note(self, text: str) -> None:
        """Say nothing."""


@dataclass(frozen=True)
class Recipe:
    """The tiny checkpoint a card is proven on; cards with the same one share it."""

    family: str
    head: str
    num_labels: int | None = None
    own_head: str = ""
    max_length: int = MAX_LENGTH

    @property
    def name(self) -> str:
        """A folder name."""
        return "-".join(
            map(str, filter(None, (self.family, self.head, self.num_labels, self.own_head, self.max_length)))
        )


@dataclass(frozen=True)
class Proof:
    """What came of one card.

    Attributes:
        card: its id.
        group: cards of one group are the same export: family, head, pooling, activation, overrides.
        problems: where the tiny checkpoint's head is not what the card says; empty when it is.
        skipped: why there is no tiny checkpoint of its kind (``unsupported``, ``remote-code``).
    """

    card: str
    group: str
    problems: tuple[str, ...] = ()
    skipped: str = ""


def recipe(card: ModelCard) -> Recipe:
    """Return the tiny checkpoint of a card's config class.

    Raises:
        ConfigError: no recipe builds the architecture the card names.
    """
    family = card.model_type
    if family in VISION_FAMILIES:
        return Recipe(family, "base")
    if family not in ARCHITECTURES:
        raise ConfigError(f"no tiny checkpoint of model_type {family!r}, and the card says export = native")
    if card.architecture in OWN_HEADS:
        return Recipe(family, "base", card.num_labels, card.architecture)
    head, labels = _head(card), None
    if head.startswith(("sequence", "token")):
        labels = card.num_labels
    built = class_name(family, head)
    if built != card.architecture:
        raise ConfigError(f"architecture {card.architecture} is not what {family}/{head} builds: {built}")
    # A score template alone is longer than the usual tiny checkpoint reads.
    return Recipe(family, head, labels, max_length=512 if card.score_template else MAX_LENGTH)


def _head(card: ModelCard) -> str:
    if card.architecture.endswith("ForSequenceClassification"):
        return "sequence_1" if card.num_labels == 1 else "sequence_3"
    if card.architecture.endswith("ForTokenClassification"):
        return "token_5"
    return next((head for ending, head in _HEADS.items() if card.architecture.endswith(ending)), "base")


def prove(cards: Iterable[ModelCard], folder: Path) -> Iterator[Proof]:
    """Resolve each card on its tiny checkpoint, written below ``folder`` once a recipe."""
    for card in cards:
        if card.export != "native":
            yield Proof(card.id, "", skipped=f"{card.export}: {card.export_reason}")
            continue
        try:
            spec, source = _resolve(card, folder)
        except PoolExportError as error:
            yield Proof(card.id, card.model_type, (str(error),))
            continue
        yield Proof(card.id, _group(card, spec), tuple(_differences(card, spec, source)))


def prove_export(card: ModelCard, folder: Path) -> dict[str, Any]:
    """Export a card's tiny checkpoint through the parity gate and return the gate's report.

    Raises:
        PoolExportError: it cannot be exported, or the graph disagrees with the reference.
    """
    checkpoint = _checkpoint(card, folder)
    target = folder / "bundles" / card.id.replace("/", "--")
    return export_model(ExportRequest(model=str(checkpoint), output=target, card=card.id), _Quiet()).report


def _checkpoint(card: ModelCard, folder: Path) -> Path:
    built = recipe(card)
    target = folder / built.name
    if (target / "config.json").is_file():
        return target
    if built.family in VISION_FAMILIES:
        with quiet():  # its own defaults name tokens that a small vocabulary lacks
            return write_tiny_vision(target, built.family)
    if built.own_head:
        return _write_own_head(write_tiny(target, built.family, built.head), built)
    overrides = {} if built.num_labels is None else {"num_labels": built.num_labels}
    if built.max_length == MAX_LENGTH:
        return write_tiny(target, built.family, built.head, **overrides)
    write_tiny(target, built.family, built.head, max_position_embeddings=built.max_length, **overrides)
    _edit_json(target / "tokenizer_config.json", model_max_length=built.max_length)
    return target


def _edit_json(path: Path, **changes: Any) -> None:
    values = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**values, **changes}), encoding="utf-8")


def _write_own_head(folder: Path, built: Recipe) -> Path:
    """Put a head's tensors beside a backbone's and name its class in ``config.json``."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    sizes = {"hidden": int(config["hidden_size"]), "labels": built.num_labels or 1}
    weights = load_file(folder / "model.safetensors")
    generator = torch.Generator().manual_seed(0)
    for name, shape in OWN_HEADS[built.own_head].items():
        counts = [sizes[size] if isinstance(size, str) else size for size in shape]
        weights[name] = torch.randn(counts, generator=generator) / counts[-1] ** 0.5
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    _edit_json(folder / "config.json", architectures=[built.own_head])
    return folder


def _resolve(card: ModelCard, folder: Path) -> tuple[PoolingSpec, Source]:
    request = ExportRequest(model=str(_checkpoint(card, folder)), card=card.id)
    source, request = with_card(open_source(request), request, card)
    spec = resolve(source.files, convert=request.convert, runner=request.runner, pooler_config=request.user_pooler())  # type: ignore[arg-type]
    return mark_sources(spec, source.card), source


def _group(card: ModelCard, spec: PoolingSpec) -> str:
    """Cards that agree in this are one export: numbers of labels, sizes and prompts change no operator."""
    labels = "" if spec.num_labels is None else ("one label" if spec.num_labels == 1 else "labels")
    parts = (
        f"{card.model_type}/{_head(card)}",
        card.architecture if card.architecture in OWN_HEADS else "",
        spec.convert,
        "+".join(spec.pooling),
        spec.activation if spec.use_activation else "raw",
        labels,
        card.score_template or "",
    )
    return " ".join(filter(None, parts))


def _differences(card: ModelCard, spec: PoolingSpec, source: Source) -> Iterator[str]:
    """Where the resolved head is not the card's."""
    sizes = () if card.matryoshka == "any" else card.matryoshka
    texts = {name: text for name, text in card.prompts.items() if text}
    pairs: tuple[tuple[str, Any, Any], ...] = (
        ("convert", card.convert, spec.convert),
        ("pooling_type", card.pooling_type and (card.pooling_type,), spec.pooling),
        ("normalize", card.normalize if card.convert == "embed" else None, spec.use_activation),
        # A head of its own tensors has the width of those, whatever config.json says.
        ("num_labels", None if card.architecture in OWN_HEADS else card.num_labels, spec.num_labels),
        ("architecture", card.exported_architecture, source.files.architecture),
        ("matryoshka", sizes or None, spec.matryoshka_dimensions),
        ("is_matryoshka", bool(card.matryoshka), spec.is_matryoshka),
        ("prompts", texts or None, source.files.st_config.get("prompts")),
    )
    for name, said, found in pairs:
        if said is not None and said != found:
            yield f"{name}: the card says {said}, its tiny checkpoint resolves to {found}"
