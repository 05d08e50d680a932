"""Tiny checkpoints with two towers: real folders, the same bytes every time, inputs that give different vectors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from pool_export.models_zoo.texts import hard_texts, sentences
from pool_export.models_zoo.tiny_vision import VISION_FAMILIES, write_tiny_vision
from pool_export.poolers.errors import ConfigError


@pytest.mark.parametrize("family", VISION_FAMILIES)
def test_the_same_arguments_give_the_same_bytes(family: str, tmp_path: Path):
    first, second = (write_tiny_vision(tmp_path / name, family) for name in "ab")
    names = sorted(path.name for path in first.iterdir())
    assert names == sorted(path.name for path in second.iterdir())
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    other = write_tiny_vision(tmp_path / "c", family, seed=1)
    assert (other / "model.safetensors").read_bytes() != (first / "model.safetensors").read_bytes()
    assert sum(path.stat().st_size for path in first.iterdir()) < 1_500_000


@pytest.mark.parametrize("family", VISION_FAMILIES)
def test_different_inputs_give_different_vectors(family: str, vision_folder: Any):
    folder = vision_folder(family)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    rows = tokenizer(list(sentences()[:8]), padding="max_length", truncation=True, return_tensors="pt")
    pixels = torch.from_numpy(np.random.default_rng(0).normal(size=(8, 3, 32, 32)).astype(np.float32))
    with torch.inference_mode():
        answers = model.get_text_features(input_ids=rows["input_ids"]), model.get_image_features(pixel_values=pixels)
    for answer in answers:
        vectors = torch.nn.functional.normalize(answer.pooler_output, dim=-1)
        cosines = vectors @ vectors.T - 2 * torch.eye(8)
        assert cosines.max() < 0.99


def test_clips_tokenizer_is_clips_own(vision_folder: Any):
    tokenizer = transformers.AutoTokenizer.from_pretrained(vision_folder("clip"))
    assert type(tokenizer).__name__ == "CLIPTokenizer"
    assert tokenizer.eos_token_id == len(tokenizer) - 1
    for text in hard_texts():
        row = tokenizer(text)["input_ids"]
        assert (row[0], row[-1]) == (tokenizer.bos_token_id, tokenizer.eos_token_id)
        assert row == tokenizer(text.lower())["input_ids"]


def test_siglips_tokenizer_has_no_file_of_its_own(vision_folder: Any):
    assert not (vision_folder("siglip") / "tokenizer.json").exists()
    assert not transformers.AutoTokenizer.from_pretrained(vision_folder("siglip")).is_fast


def test_the_old_end_token_can_be_had(vision_folder: Any):
    config = json.loads((vision_folder("clip", legacy_end=True) / "config.json").read_text("utf-8"))
    assert config["text_config"]["eos_token_id"] == 2


def test_an_unknown_family_names_the_nearest(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"unknown tiny vision family 'siglop'.*siglip"):
        write_tiny_vision(tmp_path, "siglop")
