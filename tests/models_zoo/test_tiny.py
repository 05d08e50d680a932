from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file

from pool_export.models_zoo import tiny
from pool_export.poolers.errors import ConfigError


def _case(*words: str):
    """Mark what is beyond the representative families, so that the quick tests stay quick."""
    return pytest.param(*words, marks=() if words[0] in tiny.FAMILIES else pytest.mark.slow, id="-".join(words))


ARCHITECTURES = [_case(family) for family in tiny.ARCHITECTURES]
CHECKPOINTS = [_case(family, head) for family in tiny.ARCHITECTURES for head in tiny.heads_of(family)]


def _digest(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


def _config(folder: Path) -> dict:
    return json.loads((folder / "config.json").read_text())


def test_heads_are_the_classes_that_exist():
    assert tiny.heads_of("bert") == ("base", "masked_lm", "sequence_1", "sequence_3", "token_5")
    assert tiny.heads_of("qwen3") == ("base", "causal_lm", "sequence_1", "sequence_3", "token_5")
    assert tiny.heads_of("gemma3_text") == ("base", "causal_lm", "sequence_1", "sequence_3")
    assert tiny.heads_of("t5") == ("base", "token_5")
    assert tiny.class_name("gemma3_text", "causal_lm") == "Gemma3ForCausalLM"
    assert tiny.class_name("t5") == "T5EncoderModel"


def test_tables_do_not_overlap():
    assert len(tiny.ARCHITECTURES) == len(tiny.FAMILIES) + len(tiny.ENCODERS) + len(tiny.DECODERS) > 100
    assert all(row.decoder for row in tiny.DECODERS.values())
    assert not any(row.decoder for row in tiny.ENCODERS.values())


@pytest.mark.parametrize(("family", "head"), CHECKPOINTS)
def test_folder_is_a_checkpoint(tmp_path: Path, family: str, head: str):
    folder = tiny.write_tiny(tmp_path / "made" / "here", family, head)
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= set(_digest(folder))
    config = _config(folder)
    assert config["architectures"] == [tiny.class_name(family, head)]
    assert config["model_type"] == family
    model_class = getattr(transformers, tiny.class_name(family, head))
    model, report = model_class.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert sum(parameter.numel() for parameter in model.parameters()) < 200_000


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_labels_have_names(tmp_path: Path, family: str):
    names = {"sequence_1": ["LABEL_0"], "sequence_3": ["negative", "neutral", "positive"]}
    for head in set(names) & set(tiny.heads_of(family)):
        config = transformers.AutoConfig.from_pretrained(tiny.write_tiny(tmp_path / head, family, head))
        assert list(config.id2label.values()) == names[head]
        assert config.num_labels == len(names[head])


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_same_seed_same_bytes(tmp_path: Path, family: str):
    torch.manual_seed(1)
    first = _digest(tiny.write_tiny(tmp_path / "a", family))
    torch.manual_seed(2)
    assert _digest(tiny.write_tiny(tmp_path / "b", family)) == first
    other = _digest(tiny.write_tiny(tmp_path / "c", family, seed=1))
    assert {name for name in first if other[name] != first[name]} == {"model.safetensors"}


def test_same_bytes_in_another_process(tmp_path: Path):
    code = f"from pool_export.models_zoo import tiny; tiny.write_tiny({str(tmp_path / 'b')!r}, 'qwen3', 'sequence_1')"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert _digest(tmp_path / "b") == _digest(tiny.write_tiny(tmp_path / "a", "qwen3", "sequence_1"))


def test_heads_share_the_backbone(tmp_path: Path):
    base = load_file(tiny.write_tiny(tmp_path / "a", "bert") / "model.safetensors")
    head = load_file(tiny.write_tiny(tmp_path / "b", "bert", "token_5") / "model.safetensors")
    shared = {name for name in base if f"bert.{name}" in head}
    assert len(shared) > 20
    assert "classifier.weight" in head


def test_global_random_state_is_left_alone(tmp_path: Path):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    tiny.write_tiny(tmp_path, "bert")
    assert torch.equal(torch.rand(3), expected)


def test_progress_bars_are_left_as_they_were(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    before = transformers.utils.logging.is_progress_bar_enabled()
    tiny.write_tiny(tmp_path, "bert")
    assert transformers.utils.logging.is_progress_bar_enabled() == before
    assert capsys.readouterr().out == ""


def test_a_checkpoint_is_quick(tmp_path: Path):
    tiny.write_tiny(tmp_path / "warm", "llama")
    start = time.perf_counter()
    tiny.write_tiny(tmp_path / "timed", "llama", "sequence_3")
    assert time.perf_counter() - start < 1


def test_traps_are_set(tmp_path: Path):
    configs = {family: _config(tiny.write_tiny(tmp_path / family, family)) for family in tiny.FAMILIES}
    assert configs["modernbert"]["local_attention"] == 8
    assert configs["modernbert"]["layer_types"] == ["full_attention", "sliding_attention"]
    assert configs["gemma3_text"]["layer_types"] == ["sliding_attention", "full_attention"]
    assert configs["gemma3_text"]["sliding_window"] == 8
    for family in ("qwen2", "qwen3", "llama", "gemma3_text"):
        assert configs[family]["num_key_value_heads"] < configs[family]["num_attention_heads"]
    assert configs["qwen3"]["head_dim"] * configs["qwen3"]["num_attention_heads"] != configs["qwen3"]["hidden_size"]
    for family in ("roberta", "xlm-roberta", "mpnet"):
        assert configs[family]["pad_token_id"] == 1
        assert configs[family]["max_position_embeddings"] == tiny.MAX_LENGTH + 2
    assert configs["modernbert"]["pad_token_id"] > 500


@pytest.mark.parametrize("family", ["roberta", "xlm-roberta", "mpnet", "bert", "distilbert"])
def test_longest_text_fits_the_position_table(tmp_path: Path, family: str):
    folder = tiny.write_tiny(tmp_path, family)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    inputs = tokenizer("word " * 300, truncation=True, return_tensors="pt")
    assert inputs["input_ids"].shape == (1, tiny.MAX_LENGTH)
    assert model(**inputs).last_hidden_state.isfinite().all()


def test_sizes_and_overrides_reach_the_config(tmp_path: Path):
    folder = tiny.write_tiny(
        tmp_path, "gemma3_text", hidden_size=64, layers=3, use_bidirectional_attention=True, made_up_key=[1]
    )
    config = _config(folder)
    assert (config["hidden_size"], config["num_hidden_layers"], config["made_up_key"]) == (64, 3, [1])
    assert config["layer_types"] == ["sliding_attention", "full_attention", "sliding_attention"]
    assert config["use_bidirectional_attention"] is True


def test_num_labels_replaces_the_names(tmp_path: Path):
    folder = tiny.write_tiny(tmp_path, "distilbert", "sequence_3", num_labels=7)
    assert load_file(folder / "model.safetensors")["classifier.weight"].shape == (7, 32)
    assert len(transformers.AutoConfig.from_pretrained(folder).id2label) == 7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"family": "bret"}, "unknown tiny family 'bret'; did you mean 'bert'"),
        ({"family": "gemma3_text", "head": "token_5"}, "tiny family 'gemma3_text' has no head 'token_5'"),
        ({"family": "bert", "head": "sequence_4"}, "no head 'sequence_4'; did you mean 'sequence_3'"),
        ({"family": "bert", "hidden_size": 30}, "multiple of 8, got 30"),
        ({"family": "bert", "hidden_size": 0}, "multiple of 8, got 0"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, arguments: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        tiny.write_tiny(tmp_path / "never", **arguments)
    assert not (tmp_path / "never").exists()
