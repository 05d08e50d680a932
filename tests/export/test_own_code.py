"""Checkpoints that bring `modeling_*.py` of their own: run while exporting, when trusted, and never afterwards."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from pool_export import LLM
from pool_export.export.errors import ExportError, SourceError
from pool_export.export.own_code import own_loader
from pool_export.export.pipeline import export_model
from pool_export.export.request import ExportRequest
from pool_export.models_zoo.tiny import write_tiny
from pool_export.poolers.files import CheckpointFiles

TEXTS = ["a", "The rain fell all night.", "東京"]
HIDDEN = 32

# A backbone no library knows: each token gets the mean of the tokens so far.
CONFIGURATION = """
from transformers import PretrainedConfig


class RunningConfig(PretrainedConfig):
    model_type = "running_mean"

    def __init__(self, vocab_size=8, hidden_size=8, **kwargs):
        super().__init__(**kwargs)
        self.vocab_size, self.hidden_size = vocab_size, hidden_size
"""
MODELING = """
import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, CausalLMOutput, SequenceClassifierOutput

from .configuration_running import RunningConfig


class RunningPreTrainedModel(PreTrainedModel):
    config_class = RunningConfig
    base_model_prefix = "model"


class RunningModel(RunningPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        self.mix = nn.Linear(config.hidden_size, config.hidden_size)
        self.post_init()

    def get_input_embeddings(self):
        return self.embed

    def forward(self, input_ids, attention_mask):
        seen = attention_mask.unsqueeze(-1).to(self.embed.weight.dtype)
        total = (self.embed(input_ids) * seen).cumsum(1) / seen.cumsum(1).clamp(min=1)
        return BaseModelOutput(last_hidden_state=torch.tanh(self.mix(total)))


class RunningForRewardModel(RunningPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.model = RunningModel(config)
        self.v_head = nn.Linear(config.hidden_size, 1, bias=False)
        self.post_init()

    def forward(self, input_ids, attention_mask):
        rewards = self.v_head(self.model(input_ids, attention_mask).last_hidden_state)
        return SequenceClassifierOutput(logits=rewards[:, -1])


class RunningForGatedRewardModel(RunningForRewardModel):
    def forward(self, input_ids, attention_mask):
        states = self.model(input_ids, attention_mask).last_hidden_state
        return SequenceClassifierOutput(logits=self.v_head(states) * torch.sigmoid(states[..., :1]))


class RunningForCausalLM(RunningPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.model = RunningModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_output_embeddings(self):
        return self.lm_head

    def forward(self, input_ids, attention_mask):
        return CausalLMOutput(logits=self.lm_head(self.model(input_ids, attention_mask).last_hidden_state))
"""
QWEN2 = """
from torch import nn
from transformers import Qwen2Model, Qwen2PreTrainedModel
from transformers.modeling_outputs import TokenClassifierOutput


class Qwen2ForProcessRewardModel(Qwen2PreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.model = Qwen2Model(config)
        size = config.hidden_size
        self.score = nn.Sequential(nn.Linear(size, size), nn.ReLU(), nn.Linear(size, 2))
        self.post_init()

    def forward(self, input_ids=None, attention_mask=None, **kwargs):
        states = self.model(input_ids=input_ids, attention_mask=attention_mask, **kwargs).last_hidden_state
        return TokenClassifierOutput(logits=self.score(states))
"""


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape) + sum(shape))) / shape[-1] ** 0.5


def write_running(folder, architecture, auto="AutoModel"):
    write_tiny(folder, "qwen2")  # for its tokenizer
    size = json.loads((folder / "config.json").read_text())["vocab_size"]
    prefix = "" if architecture == "RunningModel" else "model."
    tensors = {
        f"{prefix}embed.weight": noise(size, HIDDEN) * 6,
        f"{prefix}mix.weight": noise(HIDDEN, HIDDEN) * 2,
        f"{prefix}mix.bias": noise(HIDDEN),
    }
    if "Reward" in architecture:
        tensors["v_head.weight"] = noise(1, HIDDEN)
    if "CausalLM" in architecture:
        tensors["lm_head.weight"] = noise(size, HIDDEN)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "configuration_running.py").write_text(CONFIGURATION)
    (folder / "modeling_running.py").write_text(MODELING)
    config = {
        "architectures": [architecture],
        "model_type": "running_mean",
        "auto_map": {"AutoConfig": "configuration_running.RunningConfig", auto: f"modeling_running.{architecture}"},
        "vocab_size": size,
        "hidden_size": HIDDEN,
        "max_position_embeddings": 64,
        "pad_token_id": 0,
        "num_labels": 1,
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder, {key.removeprefix(prefix): value.double().numpy() for key, value in tensors.items()}


def states(weights, ids) -> np.ndarray:
    means = np.cumsum(weights["embed.weight"][list(ids)], axis=0) / np.arange(1, len(ids) + 1)[:, None]
    return np.tanh(means @ weights["mix.weight"].T + weights["mix.bias"])


@pytest.fixture(autouse=True)
def _own_modules_cache(tmp_path, monkeypatch):
    """transformers copies trusted code into a cache of its own."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    for name in [name for name in sys.modules if name.split(".")[0] == "transformers_modules"]:
        monkeypatch.delitem(sys.modules, name)


def test_a_reward_model_of_its_own_code(tmp_path, gap):
    folder, weights = write_running(tmp_path / "running", "RunningForRewardModel")
    bundle = tmp_path / "bundle"
    with pytest.raises(SourceError, match=r"Python code of its own.*--trust-remote-code"):
        export_model(ExportRequest(model=str(folder), output=bundle))
    assert not bundle.exists()
    result = export_model(ExportRequest(model=str(folder), output=bundle, trust_remote_code=True))
    assert result.report["passed"]
    rows = LLM(bundle, threads=1).reward(TEXTS)
    for row in rows:
        assert gap(row.outputs.data, states(weights, row.prompt_token_ids) @ weights["v_head.weight"].T) < 1e-5
    assert not list(bundle.rglob("*.py"))
    assert "auto_map" not in json.loads((bundle / "config.json").read_text())
    script = textwrap.dedent(f"""
        import sys
        from pool_export import LLM
        print(LLM({str(bundle)!r}).reward(["a"])[0].outputs.data.shape)
        assert not {{"torch", "transformers"}} & set(sys.modules)
        assert not any("running" in name for name in sys.modules)
    """)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_embedder_of_its_own_code(tmp_path, adapted, gap):
    folder, weights = write_running(tmp_path / "running", "RunningModel")
    with pytest.raises(SourceError, match="--trust-remote-code"):
        adapted(folder)
    composed = adapted(folder, trust_remote_code=True)
    for text, vector in zip(TEXTS, composed.run(TEXTS, "left")["sentence_embedding"], strict=True):
        last = states(weights, composed.tokenizer(text)["input_ids"])[-1]
        assert gap(vector, last / np.linalg.norm(last)) < 1e-5


@pytest.mark.parametrize("convert", ["embed", "reward"])
def test_a_head_class_gives_its_backbone_to_other_conversions(tmp_path, adapted, gap, convert):
    folder, weights = write_running(tmp_path / "running", "RunningForCausalLM", "AutoModelForCausalLM")
    composed = adapted(folder, convert=convert, trust_remote_code=True)
    found = composed.run(TEXTS)
    wanted = states(weights, composed.tokenizer(TEXTS[1])["input_ids"])
    mask = composed.batch(TEXTS)["attention_mask"][1].bool().numpy()
    assert gap(found["last_hidden_state" if convert == "embed" else "rewards"][1][mask], wanted) < 1e-5


def test_a_language_model_of_its_own_code_as_a_reranker(tmp_path, adapted, gap):
    folder, weights = write_running(tmp_path / "running", "RunningForCausalLM", "AutoModelForCausalLM")
    keys = {"classifier_from_token": ["no", "yes"], "method": "from_2_way_softmax"}
    composed = adapted(folder, convert="classify", trust_remote_code=True, hf_overrides=keys)
    no, yes = composed.spec.classifier_token_ids
    for text, logits in zip(TEXTS, composed.run(TEXTS)["logits"], strict=True):
        all_logits = states(weights, composed.tokenizer(text)["input_ids"])[-1] @ weights["lm_head.weight"].T
        assert gap(logits, all_logits[[yes]] - all_logits[[no]]) < 1e-5


def test_a_forward_that_does_more_is_refused(tmp_path, adapted):
    folder, _ = write_running(tmp_path / "running", "RunningForGatedRewardModel")
    with pytest.raises(ExportError, match=r"RunningForGatedRewardModel: its forward answers logits .*cannot be repres"):
        adapted(folder, trust_remote_code=True)


def write_prm(folder):
    write_tiny(folder, "qwen2", "sequence_1")
    weights = load_file(folder / "model.safetensors")
    del weights["score.weight"]
    for index, width in ((0, HIDDEN), (2, 2)):
        weights |= {f"score.{index}.weight": noise(width, HIDDEN), f"score.{index}.bias": noise(width)}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "modeling_prm.py").write_text(QWEN2)
    stated = json.loads((folder / "config.json").read_text())
    code = {"AutoModel": "modeling_prm.Qwen2ForProcessRewardModel"}
    stated |= {"architectures": ["Qwen2ForProcessRewardModel"], "auto_map": code}
    (folder / "config.json").write_text(json.dumps(stated))
    return folder


def test_the_known_process_reward_model_needs_no_trust(tmp_path, adapted, gap):
    """The same tensors with its own code and without: the same rewards."""
    folder = write_prm(tmp_path / "prm")
    trusted, plain = adapted(folder, trust_remote_code=True), adapted(folder)
    assert type(trusted.model).__module__.startswith("transformers_modules")
    assert type(plain.model).__name__ == "ValueModel"
    assert gap(plain.run(TEXTS)["rewards"], trusted.run(TEXTS)["rewards"]) < 1e-6
    batch = trusted.batch(TEXTS[1:2])
    with torch.inference_mode():
        own = trusted.model(**{name: batch[name] for name in ("input_ids", "attention_mask")}).logits.numpy()
    assert gap(plain.run(TEXTS[1:2])["rewards"], own) < 1e-5


def test_code_on_a_known_backbone_whose_head_is_unknown_asks_for_trust(tmp_path, adapted):
    folder = write_prm(tmp_path / "prm")
    config = json.loads((folder / "config.json").read_text())
    changed = {"architectures": ["Qwen2ForOddRewardModel"], "auto_map": {"AutoModel": "m.Qwen2ForOddRewardModel"}}
    (folder / "config.json").write_text(json.dumps({**config, **changed}))
    with pytest.raises(
        SourceError, match=r"Qwen2ForOddRewardModel is Python code of the checkpoint's own.*--trust-rem"
    ):
        adapted(folder)


def test_the_class_is_found_by_its_name_in_auto_map():
    def loader(**auto_map):
        found = own_loader(CheckpointFiles(config={"architectures": ["FooRewardModel"], "auto_map": auto_map}))
        return found and found.__name__

    assert loader(AutoModel="modeling_foo.FooRewardModel") == "AutoModel"
    assert loader(AutoModel="m.FooModel", AutoModelForCausalLM="m.FooRewardModel") == "AutoModelForCausalLM"
    assert loader(AutoModelForTokenClassification="org/repo--m.FooRewardModel") == "AutoModelForTokenClassification"
    assert loader(AutoModel="m.FooModel") is None
    assert own_loader(CheckpointFiles(config={"auto_map": {"AutoConfig": "m.C"}})) is None
