"""Reward models whose head no class of transformers has: read by the names of its tensors, no code run."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from pool_export import LLM, PoolingParams
from pool_export.export.errors import ExportError, ParityError, SourceError
from pool_export.export.pipeline import export_model
from pool_export.export.request import ExportRequest
from pool_export.export.value_heads import value_head_tensors
from pool_export.models_zoo.tiny import write_tiny

TEXTS = ["a", "The rain fell all night.", "东京の夜は明るい, and the trains ran on."]
HIDDEN = 32


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))) / shape[-1] ** 0.5


LINEAR = {"weight": noise(1, HIDDEN)}
SCORE_1 = {
    "score.0.weight": noise(HIDDEN, HIDDEN),
    "score.0.bias": noise(HIDDEN),
    "score.2.weight": noise(1, HIDDEN),
    "score.2.bias": noise(1),
}
SCORE_2 = {**SCORE_1, "score.2.weight": noise(2, HIDDEN), "score.2.bias": noise(2)}


def named(head: str, **extra: torch.Tensor) -> dict[str, torch.Tensor]:
    return {f"{head}.{key}": value for key, value in {**LINEAR, **extra}.items()}


def write_reward(folder, architecture, tensors, family="qwen2", **config):
    """A checkpoint as reward models are saved: `model.*`, the head's own tensors, and a class nobody has."""
    write_tiny(folder, family, "sequence_1")
    weights = load_file(folder / "model.safetensors")
    del weights["score.weight"]
    save_file({**weights, **tensors}, folder / "model.safetensors", metadata={"format": "pt"})
    path = folder / "config.json"
    stated = json.loads(path.read_text())
    for key in ("id2label", "label2id", "num_labels"):
        stated.pop(key, None)
    path.write_text(json.dumps({**stated, "architectures": [architecture], **config}))
    return folder


def expected_rewards(folder, tensors, ids) -> np.ndarray:
    """In float64, by hand: backbone, then Linear layers with a ReLU between."""
    backbone = AutoModel.from_pretrained(folder, dtype=torch.float64).eval()
    with torch.inference_mode():
        values = backbone(input_ids=torch.tensor([list(ids)])).last_hidden_state[0].numpy()
    for index, name in enumerate(sorted(key for key in tensors if key.endswith("weight"))):
        values = np.maximum(values, 0) if index else values
        bias = tensors.get(name.replace("weight", "bias"), torch.zeros(1))
        values = values @ tensors[name].numpy().astype(np.float64).T + bias.numpy()
    return values


CASES = {
    "qwen2.5-math-rm": ("Qwen2ForRewardModel", SCORE_1, "qwen2", {}),
    "internlm2": ("InternLM2ForRewardModel", named("v_head"), "llama", {}),
    "eurus": ("EurusRewardModel", named("regression_head"), "mistral", {}),
    "ultrarm": ("LlamaRewardModel", named("regression_head", bias=noise(1)), "llama", {}),
    "trl": ("LlamaForRewardModel", named("v_head.summary", bias=noise(1)), "llama", {"num_labels": 1}),
    "value_head": ("Qwen3ForRewardModel", {"value_head.weight": noise(3, HIDDEN)}, "qwen3", {"num_labels": 3}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_value_head_on_every_token(tmp_path, adapted, gap, case):
    architecture, tensors, family, config = CASES[case]
    folder = write_reward(tmp_path / case, architecture, tensors, family, **config)
    composed = adapted(folder)
    assert (composed.spec.convert, composed.spec.pooling) == ("reward", ("ALL",))
    for side in ("left", "right"):
        batch, found = composed.batch(TEXTS, side), composed.run(TEXTS, side)
        for row, mask in enumerate(batch["attention_mask"].bool()):
            wanted = expected_rewards(folder, tensors, batch["input_ids"][row][mask].tolist())
            assert gap(found["rewards"][row][mask.numpy()], wanted) < 5e-5
            assert not found["rewards"][row][~mask.numpy()].any()


def test_one_reward_a_text(tmp_path, adapted, gap):
    """`--convert classify` pools the last token; Qwen2.5-Math-RM's number is raw, as vLLM's hook has it."""
    folder = write_reward(tmp_path / "rm", "Qwen2ForRewardModel", SCORE_1)
    composed = adapted(folder, convert="classify")
    assert (composed.spec.pooling, composed.spec.use_activation, composed.spec.num_labels) == (("LAST",), False, 1)
    batch, found = composed.batch(TEXTS), composed.run(TEXTS)
    for row, mask in enumerate(batch["attention_mask"].bool()):
        wanted = expected_rewards(folder, SCORE_1, batch["input_ids"][row][mask].tolist())[-1]
        assert gap(found["logits"][row], wanted) < 5e-5


def test_a_process_reward_model(tmp_path, gap):
    """Qwen2.5-Math-PRM: two numbers a step, raw unless asked, then their softmax; column 1 is "good"."""
    folder = write_reward(tmp_path / "prm", "Qwen2ForProcessRewardModel", SCORE_2)
    bundle = tmp_path / "bundle"
    result = export_model(ExportRequest(model=str(folder), output=bundle, pooler_config={"step_tag_id": 9}))
    spec = result.manifest.pooling
    assert (spec.pooling, spec.step_tag_id, spec.num_labels, spec.use_activation) == (("STEP",), 9, 2, False)
    llm, ids = LLM(bundle, threads=1), [20, 9, 31, 32, 33, 9, 40]
    wanted = expected_rewards(folder, SCORE_2, ids)[[1, 5]]
    assert gap(llm.reward([ids])[0].outputs.data, wanted) < 1e-4
    soft = np.exp(wanted) / np.exp(wanted).sum(axis=1, keepdims=True)
    on = PoolingParams(use_activation=True)
    assert gap(llm.reward([ids], pooling_params=on)[0].outputs.data, soft) < 1e-5
    one = PoolingParams(returned_token_ids=(1,))
    assert gap(llm.reward([ids], pooling_params=one)[0].outputs.data, wanted[:, 1:]) < 1e-4
    assert llm.reward([[20, 21]])[0].outputs.data.shape == (0, 2)
    assert adapted_step_default(folder) == 151651


def adapted_step_default(folder) -> int | None:
    from pool_export.export.source import open_source
    from pool_export.poolers.resolve import resolve

    return resolve(open_source(ExportRequest(model=str(folder))).files).step_tag_id


def test_a_planted_fault_fails_the_export(tmp_path, monkeypatch):
    from pool_export.export import load

    real = load.value_head
    monkeypatch.setattr(load, "value_head", lambda tensors: torch.nn.Sequential(real(tensors), torch.nn.Tanh()))
    folder = write_reward(tmp_path / "rm", "Qwen2ForRewardModel", SCORE_1)
    with pytest.raises(ParityError, match="alone/rewards max-abs"):
        export_model(ExportRequest(model=str(folder), output=tmp_path / "b"))


def test_a_width_that_config_json_does_not_say(tmp_path, adapted):
    folder = write_reward(tmp_path / "rm", "Qwen3ForRewardModel", named("v_head"), "qwen3")
    with pytest.raises(
        ExportError, match=r"""answers 1 number.*says 2 label.*pass --hf-overrides '{"num_labels": 1}'"""
    ):
        adapted(folder)
    assert adapted(folder, hf_overrides={"num_labels": 1}).spec.num_labels == 1


def test_an_mlp_without_a_known_function_is_not_guessed(tmp_path, adapted):
    folder = write_reward(tmp_path / "rm", "Qwen3ForRewardModel", SCORE_1, "qwen3", num_labels=1)
    with pytest.raises(SourceError, match=r"not in the checkpoint \(score.weight\)"):
        adapted(folder)


def test_a_causal_lm_with_a_value_head_does_not_answer_states(tmp_path, adapted):
    """trl saves `v_head.summary` beside a causal LM: as rewards, its hidden states would be silently wrong."""
    folder = write_reward(tmp_path / "trl", "LlamaForCausalLM", named("v_head.summary"), "llama")
    with pytest.raises(
        SourceError, match=r"holds a value head \(v_head.summary.weight\).*\"LlamaForRewardModel\""
    ) as found:
        adapted(folder, convert="reward")
    keys = json.loads(str(found.value).split("'")[1])
    assert adapted(folder, convert="reward", hf_overrides=keys).spec.num_labels == 1
    assert adapted(folder, convert="embed").spec.num_labels is None


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"v_head.weight": noise(HIDDEN)}, r"`v_head` must be one Linear layer, got the tensors {'weight': \(32,\)}"),
        ({"v_head.0.weight": noise(1, HIDDEN)}, "`v_head` must be one Linear layer"),
        ({"v_head.bias": noise(1)}, "`v_head` must be one Linear layer"),
        ({**SCORE_1, "score.4.weight": noise(1, 1)}, "`score` must be Linear, ReLU, Linear"),
    ],
)
def test_a_head_of_another_form_is_refused(tmp_path, tensors, message):
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(SourceError, match=message):
        value_head_tensors(tmp_path, "Qwen2ForRewardModel")


@pytest.mark.parametrize("form", ["safetensors", "sharded", "bin", "sharded bin"])
def test_the_head_is_found_in_every_format(tmp_path, form):
    tensors = {**named("v_head"), "model.norm.weight": noise(HIDDEN)}
    name = "pytorch_model.bin" if "bin" in form else "model.safetensors"
    save = torch.save if "bin" in form else save_file
    if "sharded" in form:
        ending = name.rsplit(".", 1)[1]
        placed = {key: f"part-{index}.{ending}" for index, key in enumerate(tensors)}
        for key, file in placed.items():
            save({key: tensors[key]}, tmp_path / file)
        (tmp_path / f"{name}.index.json").write_text(json.dumps({"weight_map": placed}))
    else:
        save(tensors, tmp_path / name)
    (found,) = value_head_tensors(tmp_path, "Any")
    assert torch.equal(found["weight"], LINEAR["weight"])
    assert value_head_tensors(tmp_path / "nothing", "Any") == []
