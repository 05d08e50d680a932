"""Cards applied at export: they fill gaps, and never win over a file or the user."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pool_export.export.known import known_card, lines, mark_sources, with_card
from pool_export.export.pipeline import SilentReporter
from pool_export.export.request import ExportRequest
from pool_export.export.source import Source
from pool_export.models_zoo.card import ModelCard
from pool_export.poolers.errors import ConfigError
from pool_export.poolers.files import CheckpointFiles
from pool_export.poolers.limits import max_length
from pool_export.poolers.resolve import resolve
from pool_export.poolers.spec import PoolingSpec
from pool_export.runtime.manifest import CardUse

BERT: dict[str, Any] = {
    "architectures": ["BertModel"],
    "model_type": "bert",
    "hidden_size": 32,
    "max_position_embeddings": 512,
}
CARD = ModelCard(
    id="some-org/some-model",
    task="embed",
    convert="embed",
    architecture="BertModel",
    model_type="bert",
    max_length=256,
    licence="MIT",
    languages=("en",),
    pooling_type="MEAN",
    normalize=False,
    embedding_size=32,
    matryoshka=(8, 16),
    prompts={"query": "query: ", "passage": "passage: "},
    default_prompt_name="query",
    similarity="dot",
    hazards=("prompt_required",),
)
RERANKER = dataclasses.replace(
    CARD,
    task="score",
    convert="classify",
    architecture="Qwen3ForCausalLM",
    model_type="qwen3",
    pooling_type=None,
    normalize=None,
    embedding_size=None,
    matryoshka=(),
    prompts={},
    default_prompt_name=None,
    similarity=None,
    hf_overrides={
        "architectures": ["Qwen3ForSequenceClassification"],
        "classifier_from_token": ["no", "yes"],
        "method": "from_2_way_softmax",
    },
    hazards=(),
)
QWEN3 = {**BERT, "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3"}
ST_MODULES = [
    {"path": "", "type": "sentence_transformers.models.Transformer"},
    {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
]


class Known(NamedTuple):
    source: Source
    request: ExportRequest

    @property
    def use(self) -> CardUse | None:
        return self.source.card


def apply(card: ModelCard | None = CARD, request: dict[str, Any] | None = None, **files: Any) -> Known:
    source = Source("it", Path("it"), Path("it"), "", "", CheckpointFiles(**{"config": BERT, **files}))
    return Known(*with_card(source, ExportRequest(model="it", **(request or {})), card))


def spec_of(known: Known) -> PoolingSpec:
    request = known.request
    spec = resolve(known.source.files, convert=request.convert, pooler_config=request.user_pooler())  # type: ignore[arg-type]
    return mark_sources(spec, known.use)


def test_a_bare_checkpoint_gets_what_the_card_knows():
    known = apply()
    spec = spec_of(known)
    assert (spec.pooling, spec.use_activation, spec.matryoshka_dimensions) == (("MEAN",), False, (8, 16))
    assert {spec.sources[name] for name in ("pooling", "use_activation", "matryoshka_dimensions")} == {"card"}
    assert known.source.files.st_config == {
        "prompts": {"query": "query: ", "passage": "passage: "},
        "default_prompt_name": "query",
        "similarity_fn_name": "dot",
    }
    assert max_length(known.source.files) == 256
    assert known.source.licence == "MIT"
    assert known.use is not None
    assert known.use.notes == ()
    assert known.use.hazards == ("prompt_required",)
    assert sorted(known.use.filled) == [
        "default_prompt_name", "licence", "matryoshka_dimensions", "max_length",
        "pooling_type", "prompts", "similarity", "use_activation",
    ]  # fmt: skip


def test_without_a_card_nothing_happens():
    known = apply(None)
    assert known.use is None
    assert lines(known.use) == []
    assert known.source.files == CheckpointFiles(config=BERT)
    assert spec_of(known).pooling == ("CLS",)


def test_files_win_and_every_disagreement_is_a_line():
    known = apply(
        config={**BERT, "matryoshka_dimensions": [4]},
        modules=ST_MODULES,
        module_configs={"1_Pooling": {"pooling_mode": "max"}},
        transformer_config={"max_seq_length": 128},
        st_config={
            "prompts": {"query": "ask: "},
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
        },
    )
    spec = spec_of(known)
    assert (spec.pooling, spec.use_activation, spec.matryoshka_dimensions) == (("MAX",), True, (4,))
    assert "card" not in spec.sources.values()
    assert max_length(known.source.files) == 128
    # A prompt the files lack is added; the default is not, because the files chose their own prompts.
    assert known.source.files.st_config["prompts"] == {"query": "ask: ", "passage": "passage: "}
    assert known.source.files.st_config["default_prompt_name"] is None
    assert known.use is not None
    told = "\n".join(known.use.notes)
    for part in (
        "pooling_type = MEAN, the files say MAX",
        "use_activation = False, the files say True",
        "matryoshka sizes [8, 16], the files say [4]",
        "prompt query = 'query: ', the files say 'ask: '",
        "similarity = dot, the files say cosine",
        "256 tokens at most, the files say 128",
    ):
        assert part in told


def test_files_that_agree_say_so_themselves():
    known = apply(
        config={**BERT, "matryoshka_dimensions": [16, 8]},
        modules=ST_MODULES[:2],
        module_configs={"1_Pooling": {"pooling_mode": "mean"}},
        transformer_config={"max_seq_length": 256},
        st_config={"prompts": dict(CARD.prompts), "similarity_fn_name": "dot"},
    )
    assert known.use is not None
    assert (known.use.filled, known.use.notes) == ({"licence": "MIT"}, ())
    assert spec_of(known).sources["pooling"] == "sentence_transformers"


def test_placeholders_of_sentence_transformers_say_nothing():
    known = apply(st_config={"prompts": {"query": "", "document": ""}, "similarity_fn_name": None})
    assert known.source.files.st_config["prompts"] == {"query": "query: ", "document": "", "passage": "passage: "}
    assert known.source.files.st_config["similarity_fn_name"] == "dot"


@pytest.mark.parametrize(
    ("given", "pooling", "normalised"),
    [
        ({"pooling_type": "LAST"}, "LAST", False),
        ({"seq_pooling_type": "LAST"}, "LAST", False),
        ({"normalize": True}, "MEAN", True),
        ({"use_activation": True, "pooling_type": "CLS"}, "CLS", True),
    ],
)
def test_the_user_wins_over_the_card_in_silence(given: dict[str, Any], pooling: str, normalised: bool):
    known = apply(request={"pooler_config": given})
    spec = spec_of(known)
    assert (spec.pooling, spec.use_activation) == ((pooling,), normalised)
    assert known.use is not None
    assert known.use.notes == ()


def test_a_config_that_names_its_pooling_wins():
    files = {**BERT, "architectures": ["LlamaBidirectionalModel"], "model_type": "llama_bidirec", "pooling": "cls"}
    known = apply(config=files)
    assert spec_of(known).pooling == ("CLS",)
    assert known.use is not None
    assert any("pooling_type = MEAN, the files say CLS" in note for note in known.use.notes)


def test_settings_of_another_conversion_are_left_alone():
    known = apply(request={"convert": "classify"}, config={**BERT, "architectures": ["BertForSequenceClassification"]})
    spec = spec_of(known)
    assert (spec.convert, spec.pooling, spec.use_activation) == ("classify", ("CLS",), True)
    assert "matryoshka_dimensions" not in known.source.files.config


def test_similarity_is_compared_whatever_its_letter_case():
    late = dataclasses.replace(CARD, similarity="maxsim")
    assert apply(late).source.files.st_config.get("similarity_fn_name") is None  # no function of two vectors
    known = apply(late, st_config={"similarity_fn_name": "MaxSim"})
    assert known.use is not None
    assert known.use.notes == ()


def test_the_architecture_is_replaced_aloud():
    known = apply(RERANKER, config=QWEN3)
    assert known.source.files.architecture == "Qwen3ForSequenceClassification"
    assert known.source.files.config["classifier_from_token"] == ["no", "yes"]
    assert known.request.hf_overrides == RERANKER.hf_overrides
    assert known.use is not None
    assert "config.json says Qwen3ForCausalLM, exported as Qwen3ForSequenceClassification" in known.use.notes[0]
    assert lines(known.use)[0].startswith("card some-org/some-model: architectures = ")


@pytest.mark.parametrize("given", [{"convert": "embed"}, {"hf_overrides": {"num_labels": 2}}, {"runner": "pooling"}])
def test_the_architecture_stays_when_the_user_chose(given: dict[str, Any]):
    known = apply(RERANKER, request=given, config=QWEN3)
    assert known.source.files.architecture == "Qwen3ForCausalLM"
    assert "classifier_from_token" not in known.source.files.config
    assert known.request.hf_overrides == given.get("hf_overrides")
    assert known.use is not None
    assert "left out, because you chose" in known.use.notes[0]


def test_an_override_that_the_file_has_too_is_the_file_s():
    known = apply(RERANKER, config={**QWEN3, "classifier_from_token": ["false", "true"]})
    assert known.source.files.config["classifier_from_token"] == ["false", "true"]
    assert known.use is not None
    assert "config.json says ['false', 'true']: the file is kept" in known.use.notes[0]


def test_a_conversion_nobody_named_comes_from_the_card():
    known = apply(config={**BERT, "architectures": ["BertForMaskedLM"]})
    assert known.request.convert == "embed"
    assert known.use is not None
    assert known.use.filled["convert"] == "embed"


def test_another_conversion_of_the_files_is_kept():
    known = apply(config={**BERT, "architectures": ["BertForSequenceClassification"]})
    assert spec_of(known).convert == "classify"
    assert known.use is not None
    assert any("says convert = embed, the files make it classify" in note for note in known.use.notes)


def test_another_width_is_told():
    known = apply(config={**BERT, "hidden_size": 64})
    assert known.use is not None
    assert known.use.notes == ("says vectors of 32 numbers, this checkpoint gives 64",)


def test_without_a_reporter_the_lines_are_logged(caplog: pytest.LogCaptureFixture):
    known = apply(RERANKER, config=QWEN3)
    for text in lines(known.use):
        SilentReporter().note(text)
    assert "exported as Qwen3ForSequenceClassification" in caplog.text


def test_which_card_a_request_means(tmp_path: Path):
    assert known_card(ExportRequest(model="intfloat/e5-small")).id == "intfloat/e5-small"  # type: ignore[union-attr]
    assert known_card(ExportRequest(model="intfloat/e5-small", card="none")) is None
    assert known_card(ExportRequest(model="nobody/unknown-model")) is None
    assert known_card(ExportRequest(model=str(tmp_path))) is None
    named = known_card(ExportRequest(model=str(tmp_path), card="INTFLOAT/e5-small"))
    assert named is not None
    assert named.id == "intfloat/e5-small"
    with pytest.raises(ConfigError, match="no model card for 'intfloat/e5-smal'; did you mean 'intfloat/e5-small'"):
        known_card(ExportRequest(model=str(tmp_path), card="intfloat/e5-smal"))
