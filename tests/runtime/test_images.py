"""Images: what a prompt may hold, what becomes of the pixels (tests/export/test_tower_config: against transformers)."""

from __future__ import annotations

import dataclasses
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pool_export.runtime.errors import InputError, MissingExtraError
from pool_export.runtime.images import holds_image, image_of, open_png, pixel_values, prepare
from pool_export.runtime.manifest import ImagePolicy

Image = pytest.importorskip("PIL.Image")

POLICY = ImagePolicy(height=2, width=2, resize="exact", resize_height=2, resize_width=2, rescale_factor=1 / 255)
EDGE = dataclasses.replace(POLICY, resize="shortest_edge", crop_height=2, crop_width=2)
RED = Image.new("RGB", (1, 1), (255, 0, 0))
ARRAY = np.zeros((5, 6, 3), np.uint8)


def prompt(**data: Any) -> dict[str, Any]:
    return {"prompt": "", "multi_modal_data": data}


# ------------------------------------------------------------------------------------------------------- prompts


@pytest.mark.parametrize("image", [RED, ARRAY, "photo.jpg", Path("photo.jpg"), Image.new("L", (1, 1))])
def test_an_image_is_an_array_a_path_or_pillows(image: Any):
    assert image_of(prompt(image=image)) is image
    assert image_of(prompt(image=[image])) is image


@pytest.mark.parametrize("data", [None, {}, {"image": None}])
def test_no_image_is_no_image(data: Any):
    assert image_of({"prompt": "a", "multi_modal_data": data}) is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (prompt(video=RED), r"multi_modal_data should be \{'image': ...\}, got \['video'\]"),
        ({"multi_modal_data": [RED]}, "multi_modal_data should be .* got list"),
        (prompt(image=[RED, RED]), r"At most 1 image\(s\) may be provided in one prompt, got 2"),
        (prompt(image=[]), "At most 1 image"),
        (prompt(image=b"bytes"), "should be a PIL image, a uint8 numpy array or a path, got bytes"),
        (prompt(image=5), "got int"),
        ({**prompt(image=RED), "mm_processor_kwargs": {"do_resize": False}}, "mm_processor_kwargs are not supported"),
    ],
)
def test_anything_else_is_refused(given: Any, message: str):
    with pytest.raises(InputError, match=message):
        image_of(given)


def test_sides_of_score_that_hold_an_image_are_found():
    assert holds_image("a", [prompt(image=RED)])
    assert holds_image(prompt(image=RED), "b")
    assert not holds_image("a", ["b", {"prompt": "c"}])


# -------------------------------------------------------------------------------------------------------- pixels


def test_mean_and_deviation_come_after_the_rescaling():
    policy = dataclasses.replace(POLICY, mean=(0.5, 0.5, 0.0), std=(0.5, 0.25, 1.0))
    found = pixel_values([RED], policy)
    assert found.shape == (1, 3, 2, 2)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[0, :, 0, 0], [1.0, -2.0, 0.0])


@pytest.mark.parametrize(("size", "kept"), [((2, 6), (slice(2, 4), slice(0, 2))), ((6, 2), (slice(0, 2), slice(2, 4)))])
def test_a_long_image_is_cut_in_the_middle(size: tuple[int, int], kept: Any):
    width, height = size
    pixels = np.arange(width * height * 3, dtype=np.uint8).reshape(height, width, 3)
    found = pixel_values([pixels], dataclasses.replace(EDGE, rescale_factor=None))
    np.testing.assert_array_equal(found[0], np.moveaxis(pixels[kept], -1, 0))


def test_an_image_smaller_than_the_crop_lies_between_zeros():
    policy = dataclasses.replace(POLICY, height=3, width=3, resize="none", crop_height=3, crop_width=3)
    found = pixel_values([RED], policy)[0, 0]
    assert found.sum() == 1
    assert found[1, 1] == 1


def test_images_of_a_batch_keep_their_order():
    found = pixel_values([RED, np.zeros((5, 4), np.uint8), Image.new("RGB", (3, 9), (255, 255, 255))], POLICY)
    assert found[:, 1].mean(axis=(1, 2)).tolist() == [0, 0, 1]
    assert found[:, 0].mean(axis=(1, 2)).tolist() == [1, 0, 1]


# ------------------------------------------------------------------------------------------------ what is no image


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((0, 4, 3), np.uint8), r"has no pixels \(4 × 0\)"),
        (Image.new("RGB", (0, 0)), r"has no pixels \(0 × 0\)"),
        (np.zeros((5, 4, 2), np.uint8), r"has 1, 3 or 4 channels, first or last; got shape \(5, 4, 2\)"),
        (np.zeros((3, 9, 3), np.uint8), r"shape \(3, 9, 3\) may have its channels first or last"),
        (np.zeros((2, 4, 4, 3), np.uint8), "got shape"),
        (np.zeros(4, np.uint8), "got shape"),
        (np.zeros((5, 4, 3), np.float32), "holds integers from 0 to 255, got float32"),
        (np.full((5, 4, 3), 300), "holds integers from 0 to 255, got int64"),
        (np.full((5, 4, 3), -1), "holds integers from 0 to 255"),
        ("https://example.org/cat.jpg", "images are not downloaded"),
        ("no/such/file.png", "no/such/file.png cannot be read as an image: .*No such file"),
    ],
)
def test_one_clear_error(image: Any, message: str):
    with pytest.raises(InputError, match=message):
        pixel_values([image], POLICY)


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "webp", "tiff", "bmp"])
@pytest.mark.parametrize("kept", [0.0, 0.02, 0.5, 0.9])
def test_a_damaged_file_is_one_clear_error(tmp_path: Path, suffix: str, kept: float):
    path = tmp_path / f"photo.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(InputError, match=r"photo\.\w+ cannot be read as an image"):
        pixel_values([path], POLICY)
    if kept:  # the same through an object that Pillow opened and did not read yet
        try:
            opened = Image.open(path)
        except OSError:  # not even its header is there
            return
        with pytest.raises(InputError, match="an image cannot be read as an image"):
            pixel_values([opened], POLICY)


def test_a_folder_is_no_image(tmp_path: Path):
    with pytest.raises(InputError, match="cannot be read as an image"):
        pixel_values([tmp_path], POLICY)


def test_a_decompression_bomb_is_refused_before_it_is_read(tmp_path: Path):
    path = tmp_path / "bomb.png"
    Image.new("1", (10_000, 10_000)).save(path)  # 12 kilobytes
    with pytest.raises(InputError, match="bomb"):
        pixel_values([path], POLICY)


def test_a_line_that_would_grow_into_a_bomb_is_refused():
    policy = dataclasses.replace(EDGE, resize_height=224, resize_width=224, crop_height=2, crop_width=2)
    with pytest.raises(InputError, match=r"100000 × 1 pixels, resized, has 22400000 × 224 pixels"):
        pixel_values([np.zeros((1, 100_000), np.uint8)], policy)


def test_golden_bytes_that_are_no_image_are_an_error():
    with pytest.raises(InputError, match="an image cannot be read"):
        open_png(b"no png")


def test_without_pillow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingExtraError, match=r"the prompt holds an image, .* pip install 'pool-export\[image\]'"):
        pixel_values([RED], POLICY)


# ------------------------------------------------------------------------------------------- bytes, prepared ahead


def as_bytes(image: Any, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("policy", [POLICY, EDGE])
def test_bytes_give_the_pixels_of_the_file(kind: str, policy: ImagePolicy, tmp_path: Path):
    noise = np.random.default_rng(2).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90°
    data = as_bytes(Image.fromarray(noise), kind, **({"exif": exif} if kind == "JPEG" else {}))
    (tmp_path / "image").write_bytes(data)
    prepared = prepare(data, policy)
    assert (prepared.pixels.dtype, prepared.pixels.shape) == (np.uint8, (3, 2, 2))
    assert prepared.pixels.base is None or prepared.pixels.base.nbytes == prepared.pixels.nbytes
    assert np.array_equal(pixel_values([prepared], policy), pixel_values([tmp_path / "image"], policy))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "an image cannot be read: its 0 bytes are none of PNG, JPEG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "are none of PNG"),
        (as_bytes(RED, "PPM"), "are none of PNG"),
        (as_bytes(Image.new("RGB", (400, 400)), "BMP")[:9000], "the data cannot be read as an image: .*truncated"),
    ],
    ids=["empty", "eps", "ppm", "cut"],
)
def test_bytes_that_are_no_image_are_refused(data: bytes, message: str):
    with pytest.raises(InputError, match=message):
        prepare(data, POLICY)
