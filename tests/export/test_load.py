"""Loading: exact weights or a refusal that names what is missing; no code of strangers unless asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from pool_export.export.errors import SourceError
from pool_export.export.load import load_config
from pool_export.export.request import ExportRequest
from pool_export.export.source import open_source
from pool_export.models_zoo.texts import sentences
from pool_export.models_zoo.tiny import write_tiny

MODELING = """
import torch
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput


class StrangeConfig(PretrainedConfig):
    model_type = "strange"

    def __init__(self, hidden_size=16, vocab_size=900, **kwargs):
        super().__init__(**kwargs)
        self.hidden_size, self.vocab_size = hidden_size, vocab_size


class StrangeModel(PreTrainedModel):
    config_class = StrangeConfig

    def __init__(self, config):
        super().__init__(config)
        self.embeddings = torch.nn.Embedding(config.vocab_size, config.hidden_size)
        self.post_init()

    def get_input_embeddings(self):
        return self.embeddings

    def forward(self, input_ids=None, attention_mask=None, **kwargs):
        return BaseModelOutput(last_hidden_state=torch.tanh(self.embeddings(input_ids)))
"""


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "model", "bert", layers=1)


@pytest.fixture
def refusal(adapted: Any) -> Any:
    def message(folder: Path, **options: Any) -> str:
        with pytest.raises(SourceError) as caught:
            adapted(folder, **options)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return message


# ------------------------------------------------------------------------------------------------------ weights


def test_models_are_loaded_ready_to_trace(checkpoint: Path, adapted: Any):
    model = adapted(checkpoint).model
    assert not model.training
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert model.config.use_cache is False


def test_half_precision_checkpoints_are_computed_in_float32(checkpoint: Path, adapted: Any):
    halves = {name: value.half() for name, value in load_file(checkpoint / "model.safetensors").items()}
    save_file(halves, checkpoint / "model.safetensors", metadata={"format": "pt"})
    edit(checkpoint / "config.json", dtype="float16")
    composed = adapted(checkpoint)
    assert {parameter.dtype for parameter in composed.model.parameters()} == {torch.float32}
    assert composed.run(["a text"])["sentence_embedding"].dtype == np.float32


@pytest.mark.parametrize("family", ["bert", "distilbert", "qwen3"])
def test_a_head_the_checkpoint_does_not_have_is_refused_and_named(tmp_path: Path, refusal: Any, family: str):
    message = refusal(write_tiny(tmp_path / "base", family, layers=1), convert="classify")
    assert "not in the checkpoint (" in message
    assert ("score.weight" if family == "qwen3" else "classifier.") in message
    assert "the checkpoint has no such head, use --convert embed or reward" in message


def test_a_backbone_weight_that_is_missing_is_named(checkpoint: Path, refusal: Any):
    weights = load_file(checkpoint / "model.safetensors")
    del weights["encoder.layer.0.output.dense.weight"]
    save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})
    message = refusal(checkpoint)
    assert "1 weight(s) are not in the checkpoint (encoder.layer.0.output.dense.weight)" in message
    assert "--convert" not in message


def test_an_embedding_does_not_need_berts_own_pooler(checkpoint: Path, adapted: Any):
    weights = load_file(checkpoint / "model.safetensors")
    save_file(
        {name: value for name, value in weights.items() if not name.startswith("pooler.")},
        checkpoint / "model.safetensors",
        metadata={"format": "pt"},
    )
    assert adapted(checkpoint).run(["a text"])["sentence_embedding"].shape == (1, 32)


def test_weights_of_another_shape_are_refused(checkpoint: Path, refusal: Any):
    edit(checkpoint / "config.json", intermediate_size=48)
    message = refusal(checkpoint)
    assert "weights have other shapes than config.json says: encoder.layer.0.intermediate.dense.bias" in message


def test_a_missing_weight_file_is_one_line(checkpoint: Path, refusal: Any):
    (checkpoint / "model.safetensors").unlink()
    assert "model cannot be loaded: " in refusal(checkpoint)


def test_a_truncated_weight_file_is_one_line(checkpoint: Path, refusal: Any):
    content = (checkpoint / "model.safetensors").read_bytes()
    (checkpoint / "model.safetensors").write_bytes(content[: len(content) // 2])
    assert "model cannot be loaded: " in refusal(checkpoint)


# ------------------------------------------------------------------------------------------- config and overrides


def test_an_unknown_model_type_is_one_line(checkpoint: Path, refusal: Any):
    edit(checkpoint / "config.json", model_type="bertt")
    assert "config.json is not understood: " in refusal(checkpoint)


def _config(folder: Path, **overrides: Any) -> transformers.PretrainedConfig:
    request = ExportRequest(model=str(folder), hf_overrides=overrides)
    return load_config(open_source(request), request)


def test_overrides_reach_the_model(checkpoint: Path, adapted: Any):
    plain = adapted(checkpoint).run(["a text"])["sentence_embedding"]
    changed = adapted(checkpoint, hf_overrides={"hidden_act": "relu"})
    assert changed.model.config.hidden_act == "relu"
    assert np.abs(changed.run(["a text"])["sentence_embedding"] - plain).max() > 1e-3


def test_a_nested_override_changes_one_key_of_a_mapping(tmp_path: Path):
    folder = write_tiny(tmp_path / "model", "qwen3", layers=1)
    before = _config(folder).rope_parameters
    after = _config(folder, rope_parameters={"rope_theta": 500.0}).rope_parameters
    assert after == {**before, "rope_theta": 500.0}


def test_another_model_type_picks_another_class(checkpoint: Path):
    config = _config(checkpoint, model_type="roberta")
    assert type(config) is transformers.RobertaConfig
    assert config.hidden_size == 32


def test_the_model_is_the_one_the_written_config_describes(checkpoint: Path):
    request = ExportRequest(model=str(checkpoint), hf_overrides={"layer_norm_eps": 0.5, "own_key": {"a": 1}})
    source = open_source(request)
    config = load_config(source, request)
    for key in ("layer_norm_eps", "own_key", "hidden_size"):
        assert getattr(config, key) == source.files.config[key]


# ---------------------------------------------------------------------------------------------------- tokenizers


def test_a_missing_tokenizer_is_one_line(checkpoint: Path, refusal: Any):
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (checkpoint / name).unlink()
    assert "has no tokenizer; expected tokenizer.json, vocab.txt or a *.model file" in refusal(checkpoint)


@pytest.mark.parametrize("content", ["{", "{}", '{"version": "9.0", "model": null}'])
def test_a_damaged_tokenizer_is_one_line(checkpoint: Path, refusal: Any, content: str):
    (checkpoint / "tokenizer.json").write_text(content)
    assert "the tokenizer cannot be loaded: " in refusal(checkpoint)


def test_lower_casing_of_sentence_transformers_spares_special_tokens(checkpoint: Path, adapted: Any):
    (checkpoint / "sentence_bert_config.json").write_text('{"max_seq_length": 64, "do_lower_case": true}')
    composed = adapted(checkpoint)
    assert composed.source.lower_case
    ids = composed.tokenizer("[CLS] Some TEXT [SEP]")["input_ids"]
    assert ids == composed.tokenizer("[CLS] some text [SEP]")["input_ids"]
    assert ids[:2] == [composed.tokenizer.cls_token_id] * 2


# --------------------------------------------------------------------------------------------- code of strangers


@pytest.fixture
def strange(checkpoint: Path) -> Path:
    """A checkpoint that brings its own Python file."""
    vocabulary = json.loads((checkpoint / "config.json").read_text())["vocab_size"]
    (checkpoint / "modeling_strange.py").write_text(MODELING)
    config = {
        "model_type": "strange",
        "architectures": ["StrangeModel"],
        "auto_map": {"AutoConfig": "modeling_strange.StrangeConfig", "AutoModel": "modeling_strange.StrangeModel"},
        "hidden_size": 16,
        "vocab_size": vocabulary,
        "max_position_embeddings": 64,
    }
    (checkpoint / "config.json").write_text(json.dumps(config))
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn((vocabulary, 16), generator=generator)
    save_file({"embeddings.weight": weight}, checkpoint / "model.safetensors", metadata={"format": "pt"})
    return checkpoint


@pytest.fixture(autouse=True)
def _own_module_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the copies that transformers makes of checkpoints' code out of the user's cache."""
    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))


def test_code_of_strangers_is_not_run_unless_trusted(strange: Path, refusal: Any):
    (strange / "modeling_strange.py").write_text(MODELING + "\nraise SystemExit('it ran')\n")
    message = refusal(strange)
    assert "not run unless you read it and pass --trust-remote-code" in message
    assert "--trust-remote-code" in message


def test_trusted_code_exports_and_agrees(strange: Path, tmp_path: Path, open_llm: Any, gap: Any):
    from pool_export.export.pipeline import export_model

    request = ExportRequest(
        model=str(strange), output=tmp_path / "bundle", trust_remote_code=True, pooler_config={"pooling_type": "MEAN"}
    )
    assert export_model(request).report["passed"]
    weight = load_file(strange / "model.safetensors")["embeddings.weight"].numpy()
    for out in open_llm(tmp_path / "bundle").embed(list(sentences()[:4]), use_tqdm=False):
        mean = np.tanh(weight[out.prompt_token_ids]).mean(axis=0)
        assert gap(out.outputs.data, mean / np.linalg.norm(mean)) <= 1e-5
