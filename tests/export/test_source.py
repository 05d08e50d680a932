"""Finding a checkpoint: a folder, a Hub id, or one clear line that says why not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from pool_export.export.errors import SourceError
from pool_export.export.request import ExportRequest
from pool_export.export.source import Source, apply_overrides, open_source
from pool_export.models_zoo.st_files import write_modules
from pool_export.models_zoo.tiny import write_tiny
from pool_export.poolers.errors import ConfigError, PoolExportError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "my-model", "bert", layers=0)


def opened(model: object, **options: Any) -> Source:
    return open_source(ExportRequest(model=str(model), **options))


def refusal(model: object, kind: type[PoolExportError] = SourceError, **options: Any) -> str:
    with pytest.raises(kind) as caught:
        opened(model, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ------------------------------------------------------------------------------------------------------- folders


def test_a_folder_is_named_after_itself(checkpoint: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(checkpoint)
    source = opened(".")
    assert (source.id, source.revision, source.licence) == ("my-model", "", "")
    assert source.files.architecture == "BertModel"
    assert source.files.tokenizer_config["model_max_length"] == 128
    assert source.files.modules is None


def test_the_licence_comes_from_the_model_card(checkpoint: Path):
    (checkpoint / "README.md").write_text("---\nlicense: mit\n---\n# A model\n")
    assert opened(checkpoint).licence == "mit"


@pytest.mark.parametrize("card", ["no metadata", "---\nlicense: [\n---\n", "---\n- a\n---\n"])
def test_an_odd_model_card_is_no_obstacle(checkpoint: Path, card: str):
    (checkpoint / "README.md").write_text(card)
    assert opened(checkpoint).licence == ""


def test_the_transformer_may_lie_in_a_folder_of_its_own(checkpoint: Path, tmp_path: Path):
    root = tmp_path / "old-style"
    write_modules(shutil.copytree(checkpoint, root / "0_Transformer"), pooling="mean", dialect="old")
    for name in ("modules.json", "1_Pooling", "config_sentence_transformers.json"):
        shutil.move(root / "0_Transformer" / name, root / name)
    rows = json.loads((root / "modules.json").read_text())
    rows[0]["path"] = "0_Transformer"
    (root / "modules.json").write_text(json.dumps(rows))
    source = opened(root)
    assert source.model_folder == root / "0_Transformer"
    assert source.files.config["model_type"] == "bert"
    assert source.files.module_configs["1_Pooling"]["pooling_mode_mean_tokens"] is True


def test_a_revision_of_a_folder_is_refused(checkpoint: Path):
    assert "--revision applies to Hub ids" in refusal(checkpoint, ConfigError, revision="main")


def test_a_file_is_refused(checkpoint: Path):
    assert "is a file; expected a checkpoint folder" in refusal(checkpoint / "config.json")


@pytest.mark.parametrize("name", ["./nowhere", "a/b/c", "what is this", "../x"])
def test_what_is_neither_a_folder_nor_an_id_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert refusal(name) == f"{name} does not exist; expected a checkpoint folder or a Hub id such as org/name"


def test_an_empty_folder_is_refused(tmp_path: Path):
    assert "has neither config.json nor modules.json" in refusal(tmp_path)


def test_a_diffusers_folder_is_refused_by_name(tmp_path: Path):
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    assert "is a diffusers model; expected a transformers" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("text", "problem"), [("{", "cannot be read as JSON"), ("[]", "expected a JSON dict, got list")]
)
def test_a_damaged_config_is_named(checkpoint: Path, text: str, problem: str):
    (checkpoint / "config.json").write_text(text)
    message = refusal(checkpoint)
    assert "config.json" in message
    assert problem in message


def test_modules_without_a_transformer_config_are_refused(checkpoint: Path):
    write_modules(checkpoint)
    (checkpoint / "config.json").unlink()
    assert "has no config.json; expected a Hugging Face checkpoint" in refusal(checkpoint)


def test_a_module_the_graph_cannot_hold_is_named(checkpoint: Path):
    write_modules(checkpoint)
    rows = json.loads((checkpoint / "modules.json").read_text())
    rows.append({"idx": 3, "name": "3", "path": "3_LSTM", "type": "sentence_transformers.models.LSTM"})
    (checkpoint / "modules.json").write_text(json.dumps(rows))
    message = refusal(checkpoint, ConfigError)
    assert "modules.json entry 3 is 'sentence_transformers.models.LSTM'" in message
    assert "supported sentence-transformers modules: Transformer, Pooling, Dense" in message


@pytest.mark.parametrize("path", ["../outside", "1_Pooling/../../outside", "{absolute}"])
def test_module_paths_may_not_leave_the_checkpoint(checkpoint: Path, tmp_path: Path, path: str):
    write_modules(checkpoint, dense=[(32, 32, "tanh")])
    shutil.move(checkpoint / "2_Dense", tmp_path / "outside")
    rows = json.loads((checkpoint / "modules.json").read_text())
    rows[2]["path"] = path.format(absolute=tmp_path / "outside")
    (checkpoint / "modules.json").write_text(json.dumps(rows))
    assert "does not name a module inside the checkpoint" in refusal(checkpoint)


@pytest.mark.parametrize(
    "rows", [["Transformer"], [{"type": "sentence_transformers.models.Transformer", "path": None}]]
)
def test_damaged_module_lists_are_refused(checkpoint: Path, rows: list):
    (checkpoint / "modules.json").write_text(json.dumps(rows))
    assert "does not name a module" in refusal(checkpoint)


# ------------------------------------------------------------------------------------------------------- Hub ids


class Hub:
    """Stands in for snapshot_download: records the calls, serves a checkpoint as a snapshot folder."""

    def __init__(self, checkpoint: Path, home: Path) -> None:
        self.calls: list[dict[str, Any]] = []
        self.files = checkpoint
        self.snapshot = home / "models--org--name" / "snapshots" / COMMIT

    def __call__(self, name: str, **options: Any) -> str:
        self.calls.append({"name": name, **options})
        for path in self.files.rglob("*"):
            relative = path.relative_to(self.files)
            if path.is_file() and any(relative.match(pattern) for pattern in options["allow_patterns"]):
                (self.snapshot / relative).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, self.snapshot / relative)
        return str(self.snapshot)


@pytest.fixture
def hub(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    stand_in = Hub(checkpoint, tmp_path / "hub")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", stand_in)
    return stand_in


def test_a_hub_id_keeps_its_name_and_its_commit(hub: Hub):
    source = opened("org/name", revision="v2")
    assert (source.id, source.revision, source.folder) == ("org/name", COMMIT, hub.snapshot)
    (call,) = hub.calls
    assert (call["name"], call["revision"]) == ("org/name", "v2")
    assert "*.safetensors" in call["allow_patterns"]
    assert not {"*.bin", "*.py", "*"} & set(call["allow_patterns"])
    assert "onnx/*" in call["ignore_patterns"]


def test_a_local_folder_wins_over_a_hub_id(hub: Hub, checkpoint: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(checkpoint.parent)
    assert opened(checkpoint.name).folder == Path(checkpoint.name)
    assert hub.calls == []


def test_python_files_are_fetched_only_when_trusted(hub: Hub):
    opened("org/name", trust_remote_code=True)
    assert "*.py" in hub.calls[0]["allow_patterns"]


def test_old_weights_are_fetched_only_where_there_are_no_others(hub: Hub, checkpoint: Path):
    (checkpoint / "model.safetensors").rename(checkpoint / "pytorch_model.bin")
    write_modules(checkpoint, dense=[(32, 32, "tanh")])  # a Dense layer has safetensors all the same
    opened("org/name")
    assert ["*.bin" in call["allow_patterns"] for call in hub.calls] == [False, True]
    assert (hub.snapshot / "pytorch_model.bin").is_file()


def test_a_dense_layer_may_have_old_weights_beside_a_model_with_new_ones(hub: Hub, checkpoint: Path):
    write_modules(checkpoint, dense=[(32, 32, "tanh")])
    (checkpoint / "2_Dense" / "model.safetensors").rename(checkpoint / "2_Dense" / "pytorch_model.bin")
    opened("org/name")
    assert len(hub.calls) == 1
    assert (hub.snapshot / "2_Dense" / "pytorch_model.bin").is_file()


def test_an_id_that_cannot_be_reached_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The real library, offline, with an empty cache."""
    monkeypatch.chdir(tmp_path)
    message = refusal("some-org/some-model-that-is-nowhere")
    assert "some-org/some-model-that-is-nowhere is neither a folder nor a reachable Hub repository (" in message
    assert "check the name, the network, or HF_TOKEN" in message


# ----------------------------------------------------------------------------------------------------- overrides


def test_overrides_recurse_into_nested_mappings_only():
    config = {"a": 1, "text_config": {"x": 1, "deep": {"y": 1, "z": 2}}, "list": [1], "name": "n"}
    changes = {"a": 2, "text_config": {"deep": {"y": 9}}, "list": [2], "name": {"now": "a mapping"}, "new": {"k": 1}}
    merged = apply_overrides(config, changes)
    assert merged == {
        "a": 2,
        "text_config": {"x": 1, "deep": {"y": 9, "z": 2}},
        "list": [2],
        "name": {"now": "a mapping"},
        "new": {"k": 1},
    }
    assert config["text_config"] == {"x": 1, "deep": {"y": 1, "z": 2}}, "the original is left alone"


def test_overrides_are_what_the_rest_of_the_export_reads(checkpoint: Path):
    source = opened(checkpoint, hf_overrides={"architectures": ["BertForSequenceClassification"], "new": 1})
    assert source.files.architecture == "BertForSequenceClassification"
    assert source.files.config["new"] == 1
