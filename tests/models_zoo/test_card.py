"""What a card file may say, and what its fields cannot say together."""

from __future__ import annotations

import pytest

from pool_export.models_zoo.card import HAZARDS, parse_card
from pool_export.models_zoo.templates import SCORE_TEMPLATES
from pool_export.poolers.errors import ConfigError

FILE = "some-org__some-model.toml"
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
CLASSIFIER = VALID.replace('task = "embed"\nconvert = "embed"', 'task = "score"\nconvert = "classify"')


def read(text: str):
    return parse_card(text, file_name=FILE)


def test_every_field_is_read():
    card = read(
        VALID
        + """
aliases = ["some-org/old-name"]
export = "remote-code"
export_reason = "the code comes with the checkpoint"
pooling_type = "MEAN"
normalize = true
embedding_size = 768
matryoshka = [256, 64]
parameters = 109.5
default_prompt_name = "query"
similarity = "dot"
hazards = ["gated", "prompt_required"]
[prompts]
query = "query: "
[hf_overrides]
architectures = ["OtherModel"]
[pooler_config]
dimensions = 64
"""
    )
    assert card.aliases == ("some-org/old-name",)
    assert (card.export, card.export_reason) == ("remote-code", "the code comes with the checkpoint")
    assert (card.matryoshka, card.parameters, card.similarity) == ((256, 64), 109.5, "dot")
    assert card.hazards == ("gated", "prompt_required")
    assert card.exported_architecture == "OtherModel"
    assert card.pooler_config == {"dimensions": 64}
    with pytest.raises(TypeError):
        card.hf_overrides["x"] = 1  # type: ignore[index]


def test_defaults_say_nothing():
    card = read(VALID)
    assert (card.export, card.matryoshka, card.hazards, card.aliases) == ("native", (), (), ())
    assert (card.similarity, card.score_template, card.parameters, card.num_labels) == (None, None, None, None)
    assert card.exported_architecture == "BertModel"
    assert read(VALID + 'matryoshka = "any"').matryoshka == "any"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('export = "maybe"', "`export` must be one of native, remote-code, unsupported"),
        ("matryoshka = []", '`matryoshka` must be a list of sizes or "any"'),
        ("matryoshka = [0]", '`matryoshka` must be a list of sizes or "any"'),
        ("parameters = true", "`parameters` must be millions, above 0, got True"),
        ("num_labels = -1", "`num_labels` must be a positive integer"),
        ('hazards = ["fire"]', "`hazards` must be a list of eos_required, fp16_overflow"),
        ('score_template = "own"', "`score_template` must be one of qwen3_reranker"),
        ('similarity = "taste"', "`similarity` must be one of cosine, dot"),
        ("hf_overrides = {}", "`hf_overrides` must be a table"),
        ('aliases = ["no-org"]', "`aliases` must be a non-empty list of `org/name`"),
        ('model_type = ""', "not valid TOML"),  # given twice
    ],
)
def test_bad_values_are_named(line: str, message: str):
    with pytest.raises(ConfigError, match=message):
        read(VALID + line)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (VALID + 'export = "unsupported"', "`export_reason` goes with remote-code and unsupported"),
        (VALID + 'export_reason = "because"', "`export_reason` goes with remote-code and unsupported"),
        (VALID + 'default_prompt_name = "query"', "`default_prompt_name` 'query' is not among the prompts"),
        (VALID + 'hazards = ["prompt_required"]', "hazard prompt_required, and no prompts"),
        (CLASSIFIER + 'hazards = ["template_required"]', "go together"),
        (CLASSIFIER + f'score_template = "{SCORE_TEMPLATES[0]}"', "go together"),
        (CLASSIFIER + "embedding_size = 768", "`embedding_size` and `matryoshka` are of embedders"),
        (VALID + "embedding_size = 64\nmatryoshka = [128]", "exceed `embedding_size` 64"),
    ],
)
def test_contradictions_are_named(text: str, message: str):
    with pytest.raises(ConfigError, match=f"model card {FILE}: .*{message}"):
        read(text)


def test_every_hazard_has_its_meaning():
    for name, words in HAZARDS.items():
        assert name.replace("_", "").isalnum()
        assert words
        assert not words.endswith(".")
