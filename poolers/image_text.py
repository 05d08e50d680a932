"""Image-text embedders (CLIP, SigLIP): two towers that answer in one space, and what their classes say about the head.

The text tower pools one token and projects it: CLIP its end token, without a bias (arXiv 2103.00020), SigLIP the last
position of a text padded to the full length, with a bias (arXiv 2303.15343). The towers pool by themselves, so a
pooling type is not a choice here. SigLIP 2 at a fixed resolution is written with SigLIP's classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import ConfigError
from .files import CheckpointFiles
from .parts import HeadStep
from .pooler_config import PoolerConfig
from .spec import Convert, PoolingSpec, Source
from .st_modules import module_kind

# The text projection is a layer of the model, not a module with a folder of its own.
TEXT_PROJECTION = "text_projection"


@dataclass(frozen=True, kw_only=True)
class ImageTextFamily:
    """How one family's text tower ends.

    Attributes:
        name: what vLLM calls it in messages.
        projection_key: where ``config.json`` has the width of the common space: at the top, or under ``text_config``.
        bias: whether the text projection has one.
        pads_text: texts are padded to the full length and the padding is attended to, as in training.
    """

    name: str
    projection_key: tuple[str, ...]
    bias: bool
    pads_text: bool


_CLIP = ImageTextFamily(name="CLIP", projection_key=("projection_dim",), bias=False, pads_text=False)
_SIGLIP = ImageTextFamily(name="SigLIP", projection_key=("text_config", "projection_size"), bias=True, pads_text=True)
IMAGE_TEXT: dict[str, ImageTextFamily] = {"CLIPModel": _CLIP, "SiglipModel": _SIGLIP}

_ONE_TOWER = "it is one tower of two; export the whole CLIPModel or SiglipModel checkpoint"
UNSUPPORTED: dict[str, str] = {
    "AltCLIPModel": "its text tower is a RoBERTa with a projection of its own, which is not supported",
    "ChineseCLIPModel": "its text tower is a BERT pooled at its first token, which is not supported",
    "CLIPTextModelWithProjection": _ONE_TOWER,
    "CLIPVisionModel": _ONE_TOWER,
    "CLIPVisionModelWithProjection": _ONE_TOWER,
    "Siglip2Model": "it takes images as a varying number of patches (NaFlex); fixed-resolution SigLIP 2 is supported",
    "SiglipTextModel": _ONE_TOWER,
    "SiglipVisionModel": _ONE_TOWER,
}


def image_text_family(files: CheckpointFiles) -> ImageTextFamily | None:
    """Return the family of an image-text checkpoint, ``None`` for any other.

    Raises:
        ConfigError: a relative of these models that is not supported; the message says why.
    """
    if reason := UNSUPPORTED.get(files.architecture):
        raise ConfigError(f"{files.architecture} cannot be exported: {reason}")
    return IMAGE_TEXT.get(files.architecture)


def towers_path(modules: list[Mapping[str, Any]] | None) -> str | None:
    """Folder of sentence-transformers' ``CLIPModel`` module (clip-ViT-B-32), ``None`` where the first is another."""
    return str(modules[0].get("path", "")) if modules and module_kind(modules[0]) == "CLIPModel" else None


def resolve_image_text(
    files: CheckpointFiles, family: ImageTextFamily, convert: Convert, user: PoolerConfig
) -> PoolingSpec:
    """Resolve the head of an image-text checkpoint.

    Raises:
        ConfigError: a conversion, pooling type or sentence-transformers module that the towers do not have.
    """
    if convert != "embed":
        raise ConfigError(f"{files.architecture} embeds texts and images; expected --convert embed, got {convert}")
    asked = user.resolved_pooling_type()
    if asked not in (None, "LAST"):
        raise ConfigError(f"{files.architecture} pools by itself; pooling_type {asked} cannot be chosen for it")
    text = files.config.get("text_config") or {}
    hidden, width = _size(text, "hidden_size"), _width(files.config, family)
    sources: dict[str, Source] = {"pooling": "architecture", "steps": "architecture", "activation": "convert_default"}
    switch = user.resolved_activation()
    stated = _has_normalize(files) if files.modules else None
    if switch is not None:
        sources["use_activation"] = "user"
    else:
        switch = True if stated is None else stated
        sources["use_activation"] = "convert_default" if stated is None else "sentence_transformers"
    sizes = files.config.get("matryoshka_dimensions") or ()
    if not isinstance(sizes, list | tuple) or not all(isinstance(size, int) for size in sizes):
        raise ConfigError(f"config.json: matryoshka_dimensions must be a list of integers, got {sizes!r}")
    step = HeadStep(kind="dense", path=TEXT_PROJECTION, in_features=hidden, out_features=width, bias=family.bias)
    return PoolingSpec(
        convert="embed",
        pooling=("LAST",),
        hidden_size=hidden,
        steps=(step,),
        activation="normalize",
        use_activation=switch,
        embedding_size=width,
        is_matryoshka=bool(sizes) or bool(files.config.get("is_matryoshka")),
        matryoshka_dimensions=tuple(sizes),
        dimensions=user.dimensions,
        logit_mean=user.logit_mean if user.logit_mean is not None else user.logit_bias,
        logit_sigma=user.logit_sigma,
        step_tag_id=user.step_tag_id,
        returned_token_ids=user.returned_token_ids,
        sources=sources,
    )


def _has_normalize(files: CheckpointFiles) -> bool:
    kinds = [module_kind(entry) for entry in files.modules or ()]
    if kinds[0] not in ("CLIPModel", "Transformer") or kinds[1:] not in ([], ["Normalize"]):
        raise ConfigError(
            f"modules.json has {', '.join(kinds)}; an image-text model is CLIPModel or Transformer, then Normalize or "
            "nothing"
        )
    return kinds[1:] == ["Normalize"]


def _width(config: Mapping[str, Any], family: ImageTextFamily) -> int:
    scope: Any = config
    for key in family.projection_key[:-1]:
        scope = scope.get(key) or {}
    return _size(scope, family.projection_key[-1])


def _size(scope: Mapping[str, Any], key: str) -> int:
    value = scope.get(key)
    if not isinstance(value, int) or value < 1:
        raise ConfigError(f"config.json: {key} must be a positive integer, got {value!r}")
    return value
