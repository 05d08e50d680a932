"""Chains that sentence-transformers 6 itself saves: cross-encoders made of modules, token-level Dense, residuals."""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.base.modules import Dense, Transformer
from sentence_transformers.base.modules.normalize import Normalize
from sentence_transformers.sentence_transformer.modules import Dropout, LayerNorm, Pooling
from torch import nn

from pool_export.export.errors import ParityError
from pool_export.export.pipeline import export_model
from pool_export.export.request import ExportRequest
from pool_export.export.sidecars import write_config, write_tokenizer
from pool_export.export.st_files import write_sentence_transformers
from pool_export.models_zoo.st_files import write_modules
from pool_export.models_zoo.texts import hard_texts, pairs, sentences
from pool_export.models_zoo.tiny import write_tiny
from pool_export.poolers import heads
from pool_export.poolers.errors import ConfigError
from pool_export.poolers.pooler import Pooler
from pool_export.poolers.st_activations import TORCH_CLASSES, TRANSFORMERS_CLASSES, class_path
from pool_export.runtime.errors import InputError
from pool_export.runtime.manifest import TokenizerPolicy

TEXTS = [*sentences()[:12], *[text for text in hard_texts() if text]]
PAIRS = [tuple(pair) for pair in pairs()[:16]]
TOLERANCE = 1e-5
TOKENS = {"module_input_name": "token_embeddings"}
PATHS = [class_path(name) for name in TORCH_CLASSES.values()] + [
    f"transformers.activations.{name}" for name in TRANSFORMERS_CLASSES if name != "PytorchGELUTanh"
]

Modules = Callable[[int], list[nn.Module]]

EMBEDDERS: dict[str, Modules] = {
    "tokens-first": lambda width: [Dense(width, 24, **TOKENS), Pooling(24, "mean"), Dense(24, 16), Normalize()],
    "tokens-normalised": lambda width: [
        Dense(width, 24, activation_function=nn.GELU(), **TOKENS),
        Normalize(**TOKENS),
        Pooling(24, ("mean", "cls")),
    ],
    "residual": lambda width: [
        Pooling(width, "cls"),
        Dense(width, width, activation_function=nn.GELU(), use_residual=True),
        LayerNorm(width),
        Dense(width, 16, use_residual=True),
        Dropout(0.5),
        Normalize(),
    ],
    "norm-first": lambda width: [Pooling(width, "max"), LayerNorm(width), Normalize(), Dense(width, 8)],
    "renamed": lambda width: [
        Pooling(width, "lasttoken"),
        Dense(width, 20, module_output_name="hidden"),
        Dense(20, 12, module_input_name="hidden", module_output_name="sentence_embedding"),
    ],
}

SCORES = {"module_output_name": "scores", "activation_function": nn.Identity()}
RERANKERS: dict[str, Modules] = {
    "deep": lambda width: [
        Pooling(width, "cls"),
        Dense(width, width, activation_function=nn.GELU()),
        LayerNorm(width),
        Dense(width, 1, **SCORES),
    ],
    "residual": lambda width: [
        Pooling(width, ("cls", "mean")),
        Dense(2 * width, 24, use_residual=True, activation_function=nn.SiLU()),
        Dropout(0.1),
        Dense(24, 1, bias=False, **SCORES),
    ],
    "tokens-first": lambda width: [Dense(width, 24, **TOKENS), Pooling(24, "mean"), Dense(24, 1, **SCORES)],
    "three-labels": lambda width: [Pooling(width, "mean"), Dense(width, 3, **SCORES)],
}


def save(kind: Any, folder: Path, build: Modules, family: str = "bert", **options: Any) -> Path:
    """Save a model of sentence-transformers' own making, with random weights in every module."""
    backbone = write_tiny(folder.with_name("backbone"), family, layers=1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        transformer = Transformer(str(backbone))
        model = kind(modules=[transformer, *build(transformer.get_embedding_dimension())], device="cpu", **options)
        for module in list(model)[1:]:
            for parameter in module.parameters():
                nn.init.normal_(parameter, std=0.5 if parameter.ndim == 1 else parameter.shape[-1] ** -0.5)
        model.save_pretrained(str(folder))
    return folder


def encode(folder: Path, texts: list[str] = TEXTS, **options: Any) -> np.ndarray:
    return SentenceTransformer(str(folder), device="cpu", local_files_only=True, **options).encode(texts)


def predict(folder: Path) -> np.ndarray:
    return CrossEncoder(str(folder), device="cpu", local_files_only=True).predict(PAIRS).reshape(len(PAIRS), -1)


def predict_texts(folder: Path) -> np.ndarray:
    """`predict` takes a list of texts for one pair."""
    model = CrossEncoder(str(folder), device="cpu", local_files_only=True).eval()
    with torch.inference_mode():
        result: np.ndarray = model.activation_fn(model(model.preprocess(TEXTS))["scores"]).numpy()
    return result


def assert_same(found: np.ndarray, wanted: np.ndarray) -> None:
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= TOLERANCE * max(1.0, np.abs(wanted).max())


def beside_weights(bundle: Path, checkpoint: Path, target: Path) -> Path:
    """A bundle without its graph, and the backbone's weights: what a reader of sentence-transformers' files takes."""
    copy = shutil.copytree(bundle, target, ignore=shutil.ignore_patterns("onnx"))
    shutil.copyfile(checkpoint / "model.safetensors", copy / "model.safetensors")
    return copy


def files_only(checkpoint: Path, target: Path, adapted: Any) -> Path:
    """The same without tracing a graph."""
    composed = adapted(checkpoint)
    target.mkdir()
    write_tokenizer(target, composed.source, composed.tokenizer, 128)
    write_config(target, composed.source, composed.spec)
    write_sentence_transformers(target, composed.source, composed.spec, TokenizerPolicy(max_length=128))
    shutil.copyfile(composed.source.model_folder / "model.safetensors", target / "model.safetensors")
    return target


# ------------------------------------------------------------------------------------------------- embedders


@pytest.mark.parametrize("name", EMBEDDERS)
def test_a_chain_encodes_like_sentence_transformers(tmp_path: Path, adapted: Any, name: str):
    folder = save(SentenceTransformer, tmp_path / "model", EMBEDDERS[name])
    for side in ("left", "right"):
        assert_same(adapted(folder).run(TEXTS, side)["sentence_embedding"], encode(folder))


@pytest.mark.parametrize("name", EMBEDDERS)
def test_the_files_of_a_chain_are_read_back_as_the_same_chain(tmp_path: Path, adapted: Any, name: str):
    folder = save(SentenceTransformer, tmp_path / "model", EMBEDDERS[name])
    copy = files_only(folder, tmp_path / "copy", adapted)
    assert_same(encode(copy), encode(folder))
    for path in copy.glob("*_Dense/config.json"):
        assert set(json.loads(path.read_text())) >= {"in_features", "out_features", "bias", "activation_function"}


@pytest.mark.parametrize("name", EMBEDDERS)
def test_the_modules_in_a_bundle_turn_its_hidden_states_into_its_vectors(tmp_path: Path, adapted: Any, name: str):
    """A bundle has no weights of the backbone; what follows it loads and runs by itself."""
    composed = adapted(save(SentenceTransformer, tmp_path / "model", EMBEDDERS[name]))
    write_sentence_transformers(tmp_path / "out", composed.source, composed.spec, TokenizerPolicy(max_length=128))
    batch = composed.batch(TEXTS)
    outputs = composed.run(TEXTS)
    features = {
        "token_embeddings": torch.from_numpy(outputs["last_hidden_state"]),
        "attention_mask": batch["attention_mask"],
    }
    classes = {"Dense": Dense, "LayerNorm": LayerNorm, "Normalize": Normalize, "Pooling": Pooling}
    for row in json.loads((tmp_path / "out" / "modules.json").read_text())[1:]:
        module = classes[row["type"].rsplit(".", 1)[-1]].load(str(tmp_path / "out"), subfolder=row["path"])
        with torch.inference_mode():
            features = module.eval()(features)
    assert_same(outputs["sentence_embedding"], features["sentence_embedding"].numpy())


def test_dense_files_carry_no_key_that_older_releases_fail_on(tmp_path: Path, adapted: Any):
    """5.1 builds Dense from every key of its config.json, and knows these four."""
    folder = write_modules(write_tiny(tmp_path / "model", "bert"), dense=[(32, 16, "tanh")], dialect="new")
    assert "module_input_name" in json.loads((folder / "2_Dense" / "config.json").read_text())
    copy = files_only(folder, tmp_path / "copy", adapted)
    written = json.loads((copy / "2_Dense" / "config.json").read_text())
    assert set(written) == {"in_features", "out_features", "bias", "activation_function"}


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.rsplit(".", 1)[-1])
def test_every_activation_is_sentence_transformers(tmp_path: Path, adapted: Any, path: str):
    """Classes of transformers are computed by sentence-transformers only when told to trust the checkpoint."""
    module, name = path.rsplit(".", 1)
    function = getattr(importlib.import_module(module), name)()
    folder = save(
        SentenceTransformer,
        tmp_path / "model",
        lambda width: [Pooling(width, "mean"), Dense(width, 24, activation_function=function)],
    )
    assert json.loads((folder / "2_Dense" / "config.json").read_text())["activation_function"] == path
    wanted = encode(folder, trust_remote_code=True)
    assert_same(adapted(folder).run(TEXTS)["sentence_embedding"], wanted)
    copy = files_only(folder, tmp_path / "copy", adapted)
    assert_same(encode(copy, trust_remote_code=True), wanted)


def test_one_graph_holds_every_activation(tmp_path: Path, open_llm: Any):
    """Every function has a form in standard operators, and its float64 twin in the gate agrees."""

    def build(width: int) -> list[nn.Module]:
        functions = [getattr(importlib.import_module(path.rsplit(".", 1)[0]), path.rsplit(".", 1)[1]) for path in PATHS]
        layers = [Dense(width, width, activation_function=function(), use_residual=True) for function in functions]
        return [Pooling(width, "mean"), *[part for layer in layers for part in (layer, LayerNorm(width))]]

    folder = save(SentenceTransformer, tmp_path / "model", build)
    export_model(ExportRequest(model=str(folder), output=tmp_path / "bundle"))
    outputs = open_llm(tmp_path / "bundle").embed(TEXTS, truncate_prompt_tokens=-1, use_tqdm=False)
    wanted = encode(folder, trust_remote_code=True)
    found = np.stack([out.outputs.data for out in outputs])
    assert np.abs(found - wanted).max() <= 5 * TOLERANCE  # 36 layers deep


def test_a_language_model_is_pooled_at_its_last_token(tmp_path: Path, adapted: Any):
    folder = write_modules(write_tiny(tmp_path / "model", "qwen3", "causal_lm"), pooling="lasttoken")
    composed = adapted(folder)
    assert composed.source.files.architecture == "Qwen3ForCausalLM"
    assert_same(composed.run(TEXTS, "left")["sentence_embedding"], encode(folder))


def test_a_saved_size_shortens_every_vector(tmp_path: Path, open_llm: Any):
    """Without Normalize the vectors are sentence-transformers' own; with it they are unit vectors again, as in vLLM."""
    found: dict[int, np.ndarray] = {}
    wanted: dict[int, np.ndarray] = {}
    for count in (0, 1):
        home = tmp_path / str(count)
        home.mkdir()
        build: Modules = [
            lambda width: [Pooling(width, "mean")],
            lambda width: [Pooling(width, "mean"), Normalize()],
        ][count]
        folder = save(SentenceTransformer, home / "model", build, truncate_dim=8)
        export_model(ExportRequest(model=str(folder), output=home / "bundle"))
        outputs = open_llm(home / "bundle").embed(TEXTS, truncate_prompt_tokens=-1, use_tqdm=False)
        found[count], wanted[count] = np.stack([out.outputs.data for out in outputs]), encode(folder)
        assert wanted[count].shape[1] == 8
    assert_same(found[0], wanted[0])
    assert_same(found[1], wanted[1] / np.linalg.norm(wanted[1], axis=1, keepdims=True))


def old_repository(folder: Path, stem: str) -> Path:
    """The layout before 2.0: the transformer in a folder of its own, its settings named after the architecture."""
    write_modules(
        folder, pooling="mean", dense=[(32, 16, "tanh")], dialect="old", max_seq_length=24, do_lower_case=True
    )
    inner = folder / "0_Transformer"
    inner.mkdir()
    kept = {"modules.json", "config_sentence_transformers.json"}
    for path in [path for path in folder.iterdir() if path.is_file() and path.name not in kept]:
        path.rename(inner / path.name)
    (inner / "sentence_bert_config.json").rename(inner / f"sentence_{stem}_config.json")
    rows = json.loads((folder / "modules.json").read_text())
    rows[0]["path"] = "0_Transformer"
    (folder / "modules.json").write_text(json.dumps(rows))
    (folder / "config_sentence_transformers.json").unlink()
    return folder


@pytest.mark.parametrize(("family", "stem"), [("roberta", "roberta"), ("distilbert", "distilbert"), ("bert", "bert")])
def test_an_old_repository(tmp_path: Path, adapted: Any, family: str, stem: str):
    folder = old_repository(write_tiny(tmp_path / "model", family), stem)
    composed = adapted(folder)
    assert composed.source.lower_case
    wanted = encode(folder)
    copy = files_only(folder, tmp_path / "copy", adapted)
    settings = json.loads((copy / "sentence_bert_config.json").read_text())
    assert settings["do_lower_case"] is True
    settings["max_seq_length"] = 24  # `files_only` writes a limit of its own
    (copy / "sentence_bert_config.json").write_text(json.dumps(settings))
    assert_same(encode(copy), wanted)
    short = [text for text in TEXTS if len(composed.tokenizer(text)["input_ids"]) <= 24]
    assert_same(composed.run(short)["sentence_embedding"], encode(folder, short))


# -------------------------------------------------------------------------------------------- cross-encoders


@pytest.fixture(scope="module", params=["deep", "three-labels"])
def reranker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A cross-encoder made of modules, and its bundle."""
    home = tmp_path_factory.mktemp(request.param)
    checkpoint = save(CrossEncoder, home / "model", RERANKERS[request.param])
    export_model(ExportRequest(model=str(checkpoint), output=home / "bundle"))
    return checkpoint, home / "bundle"


def test_a_modular_cross_encoder_predicts_like_sentence_transformers(reranker: tuple[Path, Path], open_llm: Any):
    checkpoint, bundle = reranker
    llm, wanted = open_llm(bundle), predict(checkpoint)
    outputs = llm.classify(TEXTS, truncate_prompt_tokens=-1, use_tqdm=False)
    assert_same(np.stack([out.outputs.probs for out in outputs]), predict_texts(checkpoint))
    queries, documents = (list(column) for column in zip(*PAIRS, strict=True))
    if wanted.shape[1] > 1:
        with pytest.raises(InputError, match="num_labels == 1"):
            llm.score(queries, documents, use_tqdm=False)
        return
    outputs = llm.score(queries, documents, truncate_prompt_tokens=-1, use_tqdm=False)
    assert_same(np.array([[out.outputs.score] for out in outputs]), wanted)


def test_the_bundle_is_the_same_cross_encoder(reranker: tuple[Path, Path], tmp_path: Path):
    checkpoint, bundle = reranker
    copy = beside_weights(bundle, checkpoint, tmp_path / "copy")
    assert_same(predict(copy), predict(checkpoint))
    kinds = [type(module).__name__ for module in CrossEncoder(str(copy), local_files_only=True)]
    wanted = [type(module).__name__ for module in CrossEncoder(str(checkpoint), local_files_only=True)]
    assert kinds == [kind for kind in wanted if kind != "Dropout"]


def test_the_golden_cases_hold_pairs(reranker: tuple[Path, Path]):
    cases = json.loads((reranker[1] / "golden.json").read_text())["cases"]
    assert any(case["pair"] for case in cases)
    assert {"logits", "probs"} == set(cases[0]["outputs"])


def run_pairs(composed: Any, side: str) -> np.ndarray:
    """The head's probabilities for pairs, before any tracing."""
    queries, documents = (list(column) for column in zip(*PAIRS, strict=True))
    rows = composed.tokenizer(queries, documents, padding=True, truncation=True, padding_side=side, return_tensors="pt")
    with torch.inference_mode():
        outputs = composed.module(**{name: rows[name] for name in composed.module.input_names})
    result: np.ndarray = outputs["probs"].numpy()
    return result


@pytest.mark.parametrize("name", RERANKERS)
@pytest.mark.parametrize(("family", "side"), [("bert", "right"), ("modernbert", "left"), ("qwen3", "right")])
def test_pairs_score_like_cross_encoder(tmp_path: Path, adapted: Any, name: str, family: str, side: str):
    folder = save(CrossEncoder, tmp_path / "model", RERANKERS[name], family)
    assert_same(run_pairs(adapted(folder), side), predict(folder))
    assert_same(predict(files_only(folder, tmp_path / "copy", adapted)), predict(folder))


@pytest.mark.parametrize("name", ["deep", "three-labels"])
@pytest.mark.parametrize("function", [nn.Identity(), nn.Sigmoid(), nn.Softmax(dim=-1)], ids=str)
def test_the_activation_is_the_one_that_was_saved(tmp_path: Path, adapted: Any, name: str, function: nn.Module):
    folder = save(CrossEncoder, tmp_path / "model", RERANKERS[name], activation_fn=function)
    assert_same(run_pairs(adapted(folder), "right"), predict(folder))
    assert_same(predict(files_only(folder, tmp_path / "copy", adapted)), predict(folder))


def test_a_user_who_turns_the_activation_off_finds_it_off_in_the_files(tmp_path: Path, adapted: Any):
    folder = save(CrossEncoder, tmp_path / "model", RERANKERS["deep"])
    composed = adapted(folder, pooler_config={"use_activation": False})
    write_sentence_transformers(tmp_path / "out", composed.source, composed.spec, TokenizerPolicy(max_length=64))
    stated = json.loads((tmp_path / "out" / "config_sentence_transformers.json").read_text())
    assert (stated["model_type"], stated["activation_fn"]) == ("CrossEncoder", "torch.nn.modules.linear.Identity")
    calibrated = adapted(folder, pooler_config={"logit_mean": 1.0})
    write_sentence_transformers(tmp_path / "none", calibrated.source, calibrated.spec, TokenizerPolicy(max_length=64))
    assert not (tmp_path / "none").exists()  # sentence-transformers has no words for it


def test_a_cross_encoder_with_its_own_head_keeps_its_activation_in_the_files(tmp_path: Path, adapted: Any):
    backbone = write_tiny(tmp_path / "backbone", "bert", "sequence_1", layers=1)
    model = CrossEncoder(str(backbone), device="cpu", activation_fn=nn.Identity())
    model.save_pretrained(str(tmp_path / "model"))
    wanted = predict(tmp_path / "model")
    copy = files_only(tmp_path / "model", tmp_path / "copy", adapted)
    assert_same(predict(copy), wanted)
    # Readers that know no modules.json, vLLM among them, take the activation from config.json.
    for name in ("modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"):
        (copy / name).unlink()
    assert_same(predict(copy), wanted)
    config = json.loads((copy / "config.json").read_text())
    config.pop("sentence_transformers")  # and before 4.0 under another key
    (copy / "config.json").write_text(json.dumps(config))
    assert_same(predict(copy), wanted)


def test_a_wrong_module_of_a_cross_encoder_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = save(CrossEncoder, tmp_path / "model", RERANKERS["deep"])
    monkeypatch.setitem(heads.DENSE_FUNCTIONS, "gelu", torch.tanh)
    with pytest.raises(ParityError, match="logits"):
        export_model(ExportRequest(model=str(folder), output=tmp_path / "bundle"))


def test_a_residual_that_is_left_out_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = save(SentenceTransformer, tmp_path / "model", EMBEDDERS["residual"])
    monkeypatch.setattr(heads.Step, "forward", lambda self, x: self.function(self.layer(x)))
    with pytest.raises(ParityError, match="sentence_embedding"):
        export_model(ExportRequest(model=str(folder), output=tmp_path / "bundle"))


def test_modules_before_pooling_that_are_left_out_are_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = save(
        SentenceTransformer, tmp_path / "model", lambda width: [Dense(width, width, **TOKENS), Pooling(width, "mean")]
    )
    compose = Pooler.__init__

    def forgetful(self: Pooler, *args: Any, **others: Any) -> None:
        compose(self, *args, **{**others, "token_steps": ()})

    monkeypatch.setattr(Pooler, "__init__", forgetful)
    with pytest.raises(ParityError, match="sentence_embedding"):
        export_model(ExportRequest(model=str(folder), output=tmp_path / "bundle"))


# ------------------------------------------------------------------------------------------------- refusals


def test_texts_rendered_as_chat_are_refused(tmp_path: Path, adapted: Any):
    """sentence-transformers 6 adds `message` where the tokenizer has a chat template."""
    backbone = write_tiny(tmp_path / "backbone", "qwen3", layers=1)
    path = backbone / "tokenizer_config.json"
    template = "{% for message in messages %}[{{ message.content }}]{% endfor %}"
    path.write_text(json.dumps({**json.loads(path.read_text()), "chat_template": template}))
    transformer = Transformer(str(backbone))
    SentenceTransformer(modules=[transformer, Pooling(32, "lasttoken")], device="cpu").save_pretrained(
        str(tmp_path / "model")
    )
    with pytest.raises(ConfigError, match="modality_config has 'message'"):
        adapted(tmp_path / "model")


@pytest.mark.parametrize(
    "path",
    [
        "sentence_transformers.sentence_transformer.modules.static_embedding.StaticEmbedding",
        "sentence_transformers.models.WordEmbeddings",
        "sentence_transformers.models.BoW",
        "sentence_transformers.base.modules.router.Router",
    ],
)
def test_a_model_without_a_transformer_is_refused_by_its_module(tmp_path: Path, adapted: Any, path: str):
    """There is no config.json then, and nothing else to say what the folder is."""
    rows = [{"idx": 0, "name": "0", "path": "", "type": path}]
    (tmp_path / "modules.json").write_text(json.dumps(rows))
    with pytest.raises(ConfigError, match=rf"modules.json entry 0 is '{path}', which cannot be put in the graph"):
        adapted(tmp_path)
