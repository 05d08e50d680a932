from __future__ import annotations

from typing import Any

import pytest

from pool_export.poolers.errors import ConfigError
from pool_export.poolers.files import CheckpointFiles
from pool_export.poolers.image_text import UNSUPPORTED, image_text_family, towers_path
from pool_export.poolers.parts import HeadStep
from pool_export.poolers.pooler_config import PoolerConfig
from pool_export.poolers.resolve import resolve

CLIP: dict[str, Any] = {
    "architectures": ["CLIPModel"],
    "model_type": "clip",
    "projection_dim": 24,
    "text_config": {"hidden_size": 32},
}
SIGLIP: dict[str, Any] = {
    "architectures": ["SiglipModel"],
    "model_type": "siglip",
    "text_config": {"hidden_size": 32, "projection_size": 40},
}


def files(config: dict[str, Any], modules: list[str] | None = None, **changes: Any) -> CheckpointFiles:
    entries = None if modules is None else [{"type": f"sentence_transformers.models.{kind}"} for kind in modules]
    return CheckpointFiles(config={**config, **changes}, modules=entries)


def test_clip_projects_without_a_bias_and_siglip_with_one():
    clip, siglip = resolve(files(CLIP)), resolve(files(SIGLIP))
    step = HeadStep(kind="dense", path="text_projection", in_features=32, out_features=24, bias=False)
    assert clip.steps == (step,)
    assert (siglip.steps[0].bias, siglip.steps[0].out_features) == (True, 40)
    for spec, width in ((clip, 24), (siglip, 40)):
        assert (spec.convert, spec.pooling, spec.embedding_size) == ("embed", ("LAST",), width)
        assert (spec.activation, spec.use_activation) == ("normalize", True)
        assert spec.tasks == ("embed", "score", "token_embed", "encode")
        assert spec.sources["pooling"] == "architecture"


@pytest.mark.parametrize(
    ("modules", "pooler", "switch", "source"),
    [
        (None, {}, True, "convert_default"),
        (["CLIPModel"], {}, False, "sentence_transformers"),
        (["CLIPModel", "Normalize"], {}, True, "sentence_transformers"),
        (["Transformer"], {}, False, "sentence_transformers"),
        (["CLIPModel"], {"normalize": True}, True, "user"),
        (None, {"use_activation": False}, False, "user"),
    ],
)
def test_who_says_whether_vectors_are_normalised(modules: Any, pooler: Any, switch: bool, source: str):
    spec = resolve(files(CLIP, modules), pooler_config=PoolerConfig.parse(pooler))
    assert (spec.use_activation, spec.sources["use_activation"]) == (switch, source)


def test_matryoshka_is_as_for_texts():
    spec = resolve(files(CLIP, matryoshka_dimensions=[8, 16]), pooler_config=PoolerConfig(dimensions=8))
    assert (spec.is_matryoshka, spec.matryoshka_dimensions, spec.dimensions) == (True, (8, 16), 8)
    with pytest.raises(ConfigError, match=r"dimensions must be one of \[8, 16\]"):
        resolve(files(CLIP, matryoshka_dimensions=[8, 16]), pooler_config=PoolerConfig(dimensions=9))
    with pytest.raises(ConfigError, match="needs a Matryoshka model"):
        resolve(files(CLIP), pooler_config=PoolerConfig(dimensions=8))


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (files(CLIP), {"convert": "reward"}, "CLIPModel embeds texts and images; expected --convert embed, got reward"),
        (files(SIGLIP), {"convert": "classify"}, "SiglipModel embeds texts and images"),
        (files(CLIP), {"pooling_type": "ALL"}, "CLIPModel pools by itself; pooling_type ALL cannot be chosen"),
        (files(CLIP), {"logit_mean": 0.5}, "logit_mean/logit_sigma apply to convert=classify"),
        (files(CLIP), {"step_tag_id": 3}, "need pooling type STEP"),
        (files(CLIP, ["CLIPModel", "Dense"]), {}, "modules.json has CLIPModel, Dense; an image-text model is"),
        (files(CLIP, ["Transformer", "Pooling"]), {}, "modules.json has Transformer, Pooling"),
        (files(CLIP, projection_dim=None), {}, "projection_dim must be a positive integer, got None"),
        (files(SIGLIP, text_config={"hidden_size": 32}), {}, "projection_size must be a positive integer"),
        (files(CLIP, text_config=None), {}, "hidden_size must be a positive integer"),
        (files(CLIP, matryoshka_dimensions="8"), {}, "matryoshka_dimensions must be a list of integers, got '8'"),
    ],
)
def test_what_the_towers_do_not_have_is_refused(given: CheckpointFiles, options: dict[str, Any], message: str):
    convert = options.pop("convert", "auto")
    with pytest.raises(ConfigError, match=message):
        resolve(given, convert=convert, pooler_config=PoolerConfig.parse(options))


@pytest.mark.parametrize("architecture", UNSUPPORTED)
def test_relatives_are_refused_by_name(architecture: str):
    with pytest.raises(ConfigError, match=f"{architecture} cannot be exported: "):
        resolve(CheckpointFiles(config={"architectures": [architecture]}))


def test_other_models_are_no_image_text_models():
    assert image_text_family(CheckpointFiles(config={"architectures": ["BertModel"]})) is None
    assert image_text_family(CheckpointFiles(config={})) is None


def test_the_folder_of_a_clip_module_is_found():
    entry = {"path": "0_CLIPModel", "type": "sentence_transformers.models.CLIPModel"}
    assert towers_path([entry]) == "0_CLIPModel"
    assert towers_path([{"path": "", "type": "sentence_transformers.models.Transformer"}]) is None
    assert towers_path(None) is towers_path([]) is None
