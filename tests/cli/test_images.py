"""`pool-export embed --image`: files in, vectors after those of the texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pool_export.runtime.llm import LLM

Image = pytest.importorskip("PIL.Image")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)).save(path)
    return path


def test_images_follow_the_texts(call: Any, vision_bundle: Any, photo: Path):
    bundle = vision_bundle("clip")
    result = call("embed", bundle, "a cat", "--image", photo, "--image", photo, "--json")
    assert result.code == 0, result.err
    rows = [json.loads(line)["embedding"] for line in result.out.splitlines()]
    image = {"prompt": "", "multi_modal_data": {"image": photo}}
    wanted = [item.outputs.embedding for item in LLM(bundle).embed(["a cat", image, image], use_tqdm=False)]
    np.testing.assert_allclose(rows, wanted, atol=1e-6)


def test_an_image_alone_is_enough(call: Any, vision_bundle: Any, photo: Path, tmp_path: Path):
    result = call("embed", vision_bundle("clip"), "--image", photo, "-o", tmp_path / "vectors.npy")
    assert result.code == 0, result.err
    assert np.load(tmp_path / "vectors.npy").shape == (1, 24)


def test_a_damaged_image_is_one_line(call: Any, vision_bundle: Any, photo: Path):
    photo.write_bytes(photo.read_bytes()[:200])
    result = call("embed", vision_bundle("clip"), "--image", photo)
    assert result.code != 0
    assert "photo.png cannot be read as an image" in result.err
    assert len(result.err.splitlines()) == 1


def test_a_model_of_texts_says_so(call: Any, tiny_bundle: Any, photo: Path):
    result = call("embed", tiny_bundle("bert"), "--image", photo)
    assert result.code != 0
    assert "this model takes text only" in result.err


def test_inspect_and_verify_know_of_the_second_graph(call: Any, vision_bundle: Any):
    bundle = str(vision_bundle("siglip"))
    shown = call("inspect", bundle).out
    for words in ("image fp32", "onnx/vision_model.onnx", "pixel_values", "32 × 32 pixels", "every text to 64 tokens"):
        assert words in shown
    verified = call("verify", bundle)
    assert verified.code == 0, verified.out
    assert "2 file(s) intact" in verified.out
