"""Image processors as data: the runtime's pixels are the same numbers as transformers'."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from transformers import CLIPTextConfig

from pool_export.export.errors import ExportError, SourceError
from pool_export.export.tower_config import completed, end_token, image_policy, load_processor, patches
from pool_export.export.vision_check import generated_images
from pool_export.models_zoo.tiny_vision import VISION_FAMILIES
from pool_export.runtime.errors import InputError
from pool_export.runtime.images import pixel_values

VISION = SimpleNamespace(image_size=32, patch_size=8, num_channels=3)
SHAPES = [(30, 40, 3), (3, 30, 40), (30, 40, 1), (1, 30, 40), (30, 40, 4), (4, 30, 40)]
CLIP, SIGLIP = (dict(VISION_FAMILIES[name].processor) for name in ("clip", "siglip"))


@pytest.fixture
def processor(tmp_path: Path) -> Any:
    """Return `processor(values)`: what transformers makes of a preprocessor_config.json."""

    def load(values: dict[str, Any]) -> Any:
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(values), "utf-8")
        (tmp_path / "config.json").write_text('{"model_type": "clip"}', "utf-8")
        return load_processor(tmp_path)

    return load


def wanted(processor: Any, image: Any) -> np.ndarray:
    return np.asarray(processor(image, return_tensors="np")["pixel_values"])


@pytest.mark.parametrize(
    "values",
    [
        CLIP,
        SIGLIP,
        {**CLIP, "resample": 2, "size": {"shortest_edge": 45}},
        {**CLIP, "size": {"shortest_edge": 20}},  # smaller than the crop: zeros around it
        {**CLIP, "crop_size": {"height": 32, "width": 32}, "size": {"height": 50, "width": 37}},
        {**CLIP, "do_rescale": False},
        {**SIGLIP, "do_normalize": False, "rescale_factor": 1 / 127},
        *({**SIGLIP, "resample": filter_} for filter_ in range(6)),
    ],
)
def test_pixels_are_those_of_transformers_bit_by_bit(processor: Any, values: dict[str, Any]):
    theirs = processor(values)
    policy = image_policy(theirs, VISION)  # type: ignore[arg-type]
    for image in generated_images():
        found = pixel_values([image], policy)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, wanted(theirs, image), err_msg=f"{image.mode} {image.size}")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_arrays_are_read_as_transformers_reads_them(processor: Any, shape: tuple[int, ...], dtype: Any):
    array = np.random.default_rng(1).integers(0, 256, shape).astype(dtype)
    theirs = processor(CLIP)
    found = pixel_values([array], image_policy(theirs, VISION))  # type: ignore[arg-type]
    np.testing.assert_array_equal(found, wanted(theirs, array))


def test_a_palette_with_a_transparent_colour_is_laid_on_white(processor: Any):
    image = Image.new("P", (8, 8), 0)
    image.putpalette([10, 20, 30] * 256)
    image.info["transparency"] = 0
    theirs = processor(SIGLIP)
    policy = image_policy(theirs, VISION)  # type: ignore[arg-type]
    np.testing.assert_array_equal(pixel_values([image], policy), wanted(theirs, image))
    assert pixel_values([image], policy).min() > 0.9


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_file_is_turned_as_its_exif_says_and_an_image_object_is_not(
    processor: Any, tmp_path: Path, orientation: int, mode: str
):
    from transformers.image_utils import load_image

    image = generated_images()[0].convert(mode)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "photo.png"
    image.save(path, exif=exif)
    theirs = processor(SIGLIP)
    policy = image_policy(theirs, VISION)  # type: ignore[arg-type]
    for given in (path, str(path)):
        np.testing.assert_array_equal(pixel_values([given], policy), wanted(theirs, load_image(str(path))))
    with Image.open(path) as opened:
        np.testing.assert_array_equal(pixel_values([opened], policy), wanted(theirs, image))


def test_a_processor_that_does_not_convert_takes_rgb_alone(processor: Any):
    policy = image_policy(processor({**SIGLIP, "do_convert_rgb": None}), VISION)  # type: ignore[arg-type]
    assert not policy.convert_rgb
    assert pixel_values([generated_images()[0]], policy).shape == (1, 3, 32, 32)
    for image in (Image.new("L", (8, 8)), Image.new("RGBA", (8, 8)), np.zeros((8, 8), np.uint8)):
        with pytest.raises(InputError, match="takes RGB images only"):
            pixel_values([image], policy)


def test_an_image_of_the_wrong_size_is_refused_where_nothing_resizes(processor: Any):
    policy = image_policy(processor({**SIGLIP, "do_resize": False}), VISION)  # type: ignore[arg-type]
    assert pixel_values([Image.new("RGB", (32, 32))], policy).shape == (1, 3, 32, 32)
    with pytest.raises(InputError, match="expected an image of 32 × 32 pixels, got 33 × 32"):
        pixel_values([Image.new("RGB", (33, 32))], policy)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({**CLIP, "do_center_crop": False}, "the image tower takes 3 channels of 32 × 32"),
        ({**CLIP, "crop_size": 30}, "makes images of 30 × 30, the image tower takes"),
        ({**SIGLIP, "size": {"height": 32, "width": 30}}, "makes images of 32 × 30"),
        ({**SIGLIP, "size": {"longest_edge": 32, "shortest_edge": 32}}, "size .* is not supported"),
        ({**SIGLIP, "do_pad": True}, "do_pad is not supported"),
    ],
)
def test_a_processor_that_cannot_be_data_is_refused(processor: Any, values: dict[str, Any], message: str):
    with pytest.raises(ExportError, match=message):
        image_policy(processor(values), VISION)  # type: ignore[arg-type]


def test_a_processor_with_steps_of_its_own_is_refused_by_name(processor: Any):
    with pytest.raises(SourceError, match=r"Siglip2ImageProcessor\w* has its own"):
        processor({"image_processor_type": "Siglip2ImageProcessor"})


def test_a_checkpoint_without_a_processor_is_refused(tmp_path: Path):
    with pytest.raises(SourceError, match="no usable preprocessor_config"):
        load_processor(tmp_path)


@pytest.mark.parametrize(("eos", "token"), [(299, 299), (7, 7), (2, 299)])
def test_the_end_token_of_old_clip_configs_is_the_highest_id(eos: int, token: int):
    assert end_token(CLIPTextConfig(vocab_size=300, eos_token_id=eos, bos_token_id=1)) == token


def test_other_models_have_no_end_token():
    from transformers import BertConfig, SiglipTextConfig

    assert end_token(BertConfig()) is None
    assert end_token(SiglipTextConfig()) is None


def test_a_list_of_end_tokens_is_refused():
    with pytest.raises(ExportError, match="must be one token id"):
        end_token(CLIPTextConfig(vocab_size=300, eos_token_id=[3, 4], bos_token_id=1))


def test_what_a_config_leaves_to_its_class_is_filled_in():
    # google/siglip-base-patch16-224 names a vocabulary and no width
    given = {"architectures": ["SiglipModel"], "model_type": "siglip", "text_config": {"vocab_size": 32000}, "mine": 1}
    config = completed(given)
    text, vision = config["text_config"], config["vision_config"]
    assert (text["vocab_size"], text["hidden_size"], text["projection_size"]) == (32000, 768, 768)
    assert (text["max_position_embeddings"], vision["image_size"], config["mine"]) == (64, 224, 1)


@pytest.mark.parametrize(("size", "patch", "count"), [(224, 32, 50), ([32, 16], [8, 4], 17)])
def test_an_image_weighs_its_patches(size: Any, patch: Any, count: int):
    assert patches(SimpleNamespace(image_size=size, patch_size=patch)) == count  # type: ignore[arg-type]
