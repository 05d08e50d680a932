"""Write tiny random image-text checkpoints: CLIP, SigLIP (its own sentencepiece tokenizer) and SigLIP 2.

Real Hugging Face folders of some hundred kilobytes, like those of ``tiny``: deterministic, with
``preprocessor_config.json`` and the tokenizer quirks of the big ones.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import transformers

from ..poolers.errors import ConfigError, closest
from .texts import tokenizer_texts
from .tiny import _quiet
from .tiny_tokenizers import build_tokenizer, special_ids, write_tokenizer
from .tiny_weights import randomize

_OPENAI_MEAN, _OPENAI_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]


@dataclass(frozen=True, kw_only=True)
class TinyVisionFamily:
    """How to build a tiny checkpoint with two towers.

    Attributes:
        model: the transformers class.
        tokenizer: which tokenizer to write.
        text: values of ``text_config``.
        processor: ``preprocessor_config.json``.
        projection: width of the common space, under the key that the class reads; SigLIP's is in ``text``.
    """

    model: str
    tokenizer: Literal["clip", "siglip", "siglip2"]
    processor: Mapping[str, Any]
    text: Mapping[str, Any] = field(default_factory=dict)
    projection: Mapping[str, int] = field(default_factory=dict)


_SIGLIP_PROCESSOR = {
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_processor_type": "SiglipImageProcessor",
    "image_std": [0.5, 0.5, 0.5],
    "processor_class": "SiglipProcessor",
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
    "size": {"height": 32, "width": 32},
}

VISION_FAMILIES: dict[str, TinyVisionFamily] = {
    # As openai/clip-vit-base-patch32 has it, numbers in place of dictionaries included.
    "clip": TinyVisionFamily(
        model="CLIPModel",
        tokenizer="clip",
        text={"max_position_embeddings": 77},
        projection={"projection_dim": 24},
        processor={
            "crop_size": 32,
            "do_center_crop": True,
            "do_normalize": True,
            "do_resize": True,
            "feature_extractor_type": "CLIPFeatureExtractor",
            "image_mean": _OPENAI_MEAN,
            "image_std": _OPENAI_STD,
            "resample": 3,
            "size": 32,
        },
    ),
    "siglip": TinyVisionFamily(
        model="SiglipModel",
        tokenizer="siglip",
        text={"max_position_embeddings": 64, "projection_size": 40},
        processor=_SIGLIP_PROCESSOR,
    ),
    "siglip2": TinyVisionFamily(
        model="SiglipModel",
        tokenizer="siglip2",
        text={"max_position_embeddings": 64, "projection_size": 40},
        processor={**_SIGLIP_PROCESSOR, "do_convert_rgb": None, "resample": 2},
    ),
}


def write_tiny_vision(folder: str | Path, family: str, *, seed: int = 0, legacy_end: bool = False) -> Path:
    """Write a checkpoint with a text and an image tower of 32-pixel images and return its folder.

    Args:
        folder: created where missing; files of the same names are replaced.
        family: a key of ``VISION_FAMILIES``.
        seed: chooses the weights.
        legacy_end: CLIP: ``eos_token_id`` 2, as configs written before transformers#24773 have it.

    Raises:
        ConfigError: unknown family.
    """
    if family not in VISION_FAMILIES:
        raise ConfigError(f"unknown tiny vision family {family!r}{closest(family, VISION_FAMILIES)}")
    row, target = VISION_FAMILIES[family], Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    size, ids = _write_tokenizer(target, row.tokenizer)
    ids = {**ids, "eos": 2} if legacy_end else ids
    layers = {"intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    named = {f"{role}_token_id": ids.get(role) for role in ("pad", "bos", "eos")}
    width = row.text.get("projection_size", 32)
    text = {**layers, "hidden_size": 32, **named, "vocab_size": size, **row.text}
    vision = {**layers, "hidden_size": width, "image_size": 32, "patch_size": 8}
    model_class = getattr(transformers, row.model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = model_class.config_class(text_config=text, vision_config=vision, **row.projection)
        model = model_class(config)
    randomize(model, seed=seed)
    with _quiet():
        model.save_pretrained(target)
    (target / "preprocessor_config.json").write_text(json.dumps(dict(row.processor), indent=2) + "\n", "utf-8")
    return target


def _write_tokenizer(folder: Path, kind: str) -> tuple[int, dict[str, int]]:
    """Write tokenizer files; return the vocabulary's size and the special ids by role."""
    if kind == "siglip":
        return _write_sentencepiece(folder)
    name, length = ("clip", 77) if kind == "clip" else ("gemma", 64)
    write_tokenizer(folder, name, max_length=length)
    if kind == "siglip2":
        _edit_config(folder, model_input_names=["input_ids"])
    return build_tokenizer(name).get_vocab_size(), special_ids(name)


def _edit_config(folder: Path, **changes: Any) -> None:
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **changes}, indent=2) + "\n", "utf-8")


def _write_sentencepiece(folder: Path) -> tuple[int, dict[str, int]]:
    """SigLIP's own: a sentencepiece model without a dummy prefix; its class drops case and punctuation in Python."""
    import sentencepiece

    stream = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(tokenizer_texts()),
        model_writer=stream,
        vocab_size=600,
        model_type="unigram",
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        add_dummy_prefix=False,
        num_threads=1,
        minloglevel=2,
    )
    (folder / "spiece.model").write_bytes(stream.getvalue())
    size = sentencepiece.SentencePieceProcessor(model_proto=stream.getvalue()).get_piece_size()
    roles = {"eos_token": "</s>", "pad_token": "</s>", "unk_token": "<unk>"}
    config = {
        "tokenizer_class": "SiglipTokenizer",
        "model_max_length": 64,
        "do_lower_case": True,
        "model_input_names": ["input_ids"],
        "sp_model_kwargs": {},
        **roles,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")
    return size, {"eos": 1, "pad": 1}
