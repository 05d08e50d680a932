"""The image tower of CLIP and SigLIP: traced beside the text graph, described, and written into the bundle."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..poolers.heads import normalize
from ..poolers.image_text import IMAGE_TEXT, ImageTextFamily
from ..poolers.spec import PoolingSpec
from ..runtime.manifest import ImageTower, Manifest
from .errors import ExportError
from .source import Source
from .tower_config import end_token, image_policy, load_processor, patches
from .trace import annotate, trace_images
from .write import write_graph

GRAPH_NAME = "vision_model"  # the name that transformers.js and the Hub's ONNX repositories use


class VisionTower(nn.Module):
    """Image tower and projection; its ``forward`` is the graph."""

    def __init__(self, model: PreTrainedModel, spec: PoolingSpec) -> None:
        """Take the tower out of a CLIP or SigLIP model.

        Raises:
            ExportError: the tower does not pool, or answers another width than the texts'.
        """
        super().__init__()
        towers = cast(Any, model)
        if getattr(towers.vision_model.config, "vision_use_head", True) is False:
            raise ExportError("vision_config.vision_use_head is false: the image tower answers no single vector")
        self.backbone = towers.vision_model
        self.projection = getattr(towers, "visual_projection", nn.Identity())
        self.use_activation = spec.use_activation
        width = getattr(self.projection, "out_features", self.backbone.config.hidden_size)
        if width != spec.embedding_size:
            raise ExportError(f"images embed to {width} numbers and texts to {spec.embedding_size}; expected the same")

    def forward(self, pixel_values: Tensor) -> dict[str, Tensor]:
        """Compute the graph outputs, float32 ``[batch_size, dim]``.

        Args:
            pixel_values: float32 ``[batch_size, 3, height, width]``.
        """
        raw = self.projection(self.backbone(pixel_values=pixel_values).pooler_output).to(torch.float32)
        # `image_embeds` is what CLIPVisionModelWithProjection answers under that name: not normalised.
        return (
            {"sentence_embedding": normalize(raw), "image_embeds": raw}
            if self.use_activation
            else {"image_embeds": raw}
        )


def family_of(source: Source) -> ImageTextFamily | None:
    """The family of an image-text checkpoint, ``None`` for any other."""
    return IMAGE_TEXT.get(source.files.architecture)


def text_tower(source: Source, model: PreTrainedModel) -> PreTrainedModel:
    """The part of a model that reads text: one tower of an image-text model, or the whole of any other."""
    return model if family_of(source) is None else cast(PreTrainedModel, model.text_model)


def check_towers(source: Source, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, limit: int) -> None:
    """Refuse, before anything is traced, what would make other texts or images of the inputs than in training.

    Raises:
        ExportError: the tokenizer ends texts with another token than the tower pools, SigLIP's length was lowered, or
            the image processor cannot be described.
        SourceError: no image processor.
    """
    family = family_of(source)
    if family is None:
        return
    config = text_tower(source, model).config
    wanted = end_token(config)
    if wanted is not None and tokenizer.eos_token_id != wanted:
        raise ExportError(
            f"the text tower pools token {wanted}, but the tokenizer ends texts with {tokenizer.eos_token_id}; check "
            "text_config.eos_token_id"
        )
    if family.pads_text and limit != config.max_position_embeddings:
        raise ExportError(
            f"{family.name} pads every text to {config.max_position_embeddings} tokens, the limit is {limit}; a longer "
            "or shorter text would be another input than it was trained on"
        )
    image_policy(load_processor(source.model_folder), cast(Any, model).vision_model.config)


def add_image_tower(
    folder: Path,
    source: Source,
    model: PreTrainedModel,
    manifest: Manifest,
    opset: int,
    metadata: Mapping[str, str],
) -> Manifest:
    """Trace and write the image graph with its preprocessing; a model of texts alone is left as it is.

    Raises:
        ExportError: the tower cannot be traced, or its processor cannot be described.
        SourceError: no image processor.
    """
    if family_of(source) is None:
        return manifest
    processor = load_processor(source.model_folder)
    vision = cast(Any, model).vision_model.config
    policy = image_policy(processor, vision)
    tower = VisionTower(model, manifest.pooling).eval()
    program = trace_images(
        tower, height=policy.height, width=policy.width, opset=opset, shown=type(tower.backbone).__name__
    )
    annotate(program, metadata)
    processor.to_json_file(folder / "preprocessor_config.json")
    graph = write_graph(program, folder, GRAPH_NAME)
    image = ImageTower(policy=policy, graphs={"fp32": graph}, tokens=patches(vision))
    return dataclasses.replace(manifest, image=image)
