from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from sentence_transformers import SentenceTransformer

from pool_export.models_zoo import st_files, texts, tiny
from pool_export.poolers.errors import ConfigError

SENTENCES = list(texts.sentences()[:6])


def _model(folder: Path) -> SentenceTransformer:
    return SentenceTransformer(str(folder), device="cpu", local_files_only=True)


def _read(path: Path) -> dict:
    return json.loads(path.read_text())


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    return tiny.write_tiny(tmp_path / "bert", "bert")


@pytest.mark.parametrize("dialect", st_files.DIALECTS)
@pytest.mark.parametrize("mode", st_files.POOLING_MODES)
def test_every_pooling_mode_loads(bert: Path, mode: str, dialect: st_files.Dialect):
    model = _model(st_files.write_modules(bert, pooling=mode, dialect=dialect))
    assert model[1].pooling_mode == mode
    vectors = model.encode(SENTENCES)
    assert vectors.shape == (6, 32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_every_family_encodes(tmp_path: Path, family: str):
    folder = st_files.write_modules(tiny.write_tiny(tmp_path, family), pooling="lasttoken", normalize=False)
    vectors = _model(folder).encode(SENTENCES)
    assert vectors.shape == (6, 32)
    assert np.ptp(np.linalg.norm(vectors, axis=1)) > 1e-3


@pytest.mark.parametrize("dialect", st_files.DIALECTS)
def test_whole_chain(bert: Path, dialect: st_files.Dialect):
    layers = [(64, 24, "tanh"), (24, 16, "torch.nn.modules.activation.ReLU")]
    folder = st_files.write_modules(
        bert, pooling=["cls", "mean"], dense=layers, layer_norm=True, dialect=dialect, normalize=True
    )
    model = _model(folder)
    kinds = [type(module).__name__ for module in model]
    assert kinds == ["Transformer", "Pooling", "Dense", "Dense", "LayerNorm", "Normalize"]
    assert tuple(model[1].pooling_mode) == ("cls", "mean")
    for index, name in ((2, "linear"), (3, "linear"), (4, "norm")):
        saved = load_file(folder / f"{index}_{kinds[index]}" / "model.safetensors")
        loaded = dict(model[index].named_parameters())
        assert set(saved) == set(loaded) == {f"{name}.weight", f"{name}.bias"}
        for key, value in saved.items():
            np.testing.assert_array_equal(loaded[key].detach().numpy(), value)
    assert type(model[3].activation_function).__name__ == "ReLU"
    assert model.encode(SENTENCES).shape == (6, 16)


def test_new_dialect_is_what_the_library_saves(bert: Path, tmp_path: Path):
    folder = st_files.write_modules(
        bert, pooling=["cls", "mean"], dense=[(64, 16, "tanh")], layer_norm=True, prompts={"query": "q: "}
    )
    _model(folder).save(str(tmp_path / "saved"))
    names = [
        "modules.json",
        "sentence_bert_config.json",
        *(f"{n}/config.json" for n in ("1_Pooling", "2_Dense", "3_LayerNorm", "4_Normalize")),
    ]
    for name in names:
        assert _read(folder / name) == _read(tmp_path / "saved" / name), name
    ours, theirs = (_read(home / "config_sentence_transformers.json") for home in (folder, tmp_path / "saved"))
    assert ours.keys() == theirs.keys()
    assert ours["prompts"] == theirs["prompts"] == {"query": "q: ", "document": ""}


def test_old_dialect_has_the_old_words(bert: Path):
    folder = st_files.write_modules(bert, pooling="cls", dialect="old", max_seq_length=40, do_lower_case=True)
    assert [row["type"] for row in json.loads((folder / "modules.json").read_text())] == [
        f"sentence_transformers.models.{kind}" for kind in ("Transformer", "Pooling", "Normalize")
    ]
    pooling = _read(folder / "1_Pooling" / "config.json")
    assert pooling["word_embedding_dimension"] == 32
    assert [key for key, value in pooling.items() if value is True] == ["pooling_mode_cls_token", "include_prompt"]
    assert _read(folder / "sentence_bert_config.json") == {"max_seq_length": 40, "do_lower_case": True}
    assert not (folder / "2_Normalize").exists()


@pytest.mark.parametrize("dialect", st_files.DIALECTS)
def test_text_settings_take_effect(tmp_path: Path, dialect: st_files.Dialect):
    def write(name: str, **options) -> SentenceTransformer:
        return _model(st_files.write_modules(tiny.write_tiny(tmp_path / name, "roberta"), dialect=dialect, **options))

    plain, lower = write("plain"), write("lower", do_lower_case=True, max_seq_length=20)
    assert (plain.max_seq_length, lower.max_seq_length) == (tiny.MAX_LENGTH, 20)
    assert lower.tokenize(["word " * 90])["input_ids"].shape == (1, 20)
    text = ["The SEA is Cold"]
    assert np.abs(plain.encode(text) - plain.encode([text[0].lower()])).max() > 1e-3
    np.testing.assert_array_equal(lower.encode(text), lower.encode([text[0].lower()]))


@pytest.mark.parametrize("dialect", st_files.DIALECTS)
def test_prompts_and_similarity(bert: Path, dialect: st_files.Dialect):
    folder = st_files.write_modules(
        bert,
        dialect=dialect,
        prompts={"query": "query: ", "passage": "passage: "},
        default_prompt_name="query",
        similarity_fn_name="dot",
        include_prompt=False,
    )
    model = _model(folder)
    assert model.prompts["passage"] == "passage: "
    assert (model.default_prompt_name, model.similarity_fn_name) == ("query", "dot")
    assert model[1].include_prompt is False
    np.testing.assert_array_equal(model.encode(SENTENCES), model.encode(SENTENCES, prompt_name="query"))
    assert np.abs(model.encode(SENTENCES) - model.encode(SENTENCES, prompt_name="passage")).max() > 1e-3


def test_weights_follow_the_seed(bert: Path):
    def weights(seed: int) -> bytes:
        st_files.write_modules(bert, dense=[(32, 8, "identity")], dense_bias=False, seed=seed)
        return (bert / "2_Dense" / "model.safetensors").read_bytes()

    assert weights(0) == weights(0) != weights(1)
    assert set(load_file(bert / "2_Dense" / "model.safetensors")) == {"linear.weight"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "average"}, "unknown sentence-transformers pooling mode 'average'"),
        ({"pooling": ["mean", "cls"], "dialect": "old"}, r"concatenates \['cls', 'mean'\] in this order"),
        ({"pooling": []}, "at least one pooling mode"),
        ({"dense": [(64, 8, "tanh")]}, "must take the 32 values before it, got in_features=64"),
        ({"dense": [(32, 8, "tanch")]}, "unknown activation 'tanch'; did you mean 'tanh'"),
        ({"dialect": "newer"}, "unknown dialect 'newer'; did you mean 'new'"),
        ({"default_prompt_name": "query"}, "'query' is not among the prompts"),
    ],
)
def test_mistakes_are_named(bert: Path, options: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        st_files.write_modules(bert, **options)
    assert not (bert / "modules.json").exists()
