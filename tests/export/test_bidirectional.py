"""Decoders with `is_causal=false`: every token sees every other, whichever key or class says so."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel

from pool_export import LLM
from pool_export.export.bidirectional import explicit_mask
from pool_export.export.errors import ExportError, ParityError
from pool_export.export.pipeline import export_model
from pool_export.export.request import ExportRequest
from pool_export.models_zoo.tiny import write_tiny

TEXTS = ["a", "The rain fell all night over the hills and the long white road.", "Short, but not too short."]
WINDOWED = ("cohere2", "gemma2", "gemma3_text", "mistral", "modernbert-decoder", "olmo3", "phi3", "starcoder2")
PLAIN = ("qwen2", "qwen3", "llama", "gemma", "gpt2", "olmo2", "phi", "granite", "falcon")
STAYS_CAUSAL = ("gpt_neo", "openai-gpt", "stablelm", "nemotron")
NO_EXPLICIT_MASK = ("bloom", "opt", "mpt")


def states(folder, ids, reach=None, reach_of="sliding_attention") -> np.ndarray:
    """The plain causal model in float64 and eager attention, under a mask written out here pair by pair."""
    config = AutoConfig.from_pretrained(folder)
    config.use_cache = False
    model = AutoModel.from_pretrained(folder, config=config, dtype=torch.float64, attn_implementation="eager").eval()
    size = len(ids)
    seen = torch.zeros(1, 1, size, size, dtype=torch.float64)
    near = seen.clone()
    if reach is not None:
        for row in range(size):
            for column in range(size):
                if abs(row - column) > reach:
                    near[0, 0, row, column] = torch.finfo(torch.float64).min
    kinds = set(getattr(config, "layer_types", None) or ())
    mask = {"full_attention": seen, reach_of: near} if reach_of in kinds else (seen if reach is None else near)
    with torch.inference_mode():
        return model(input_ids=torch.tensor([list(ids)]), attention_mask=mask).last_hidden_state[0].numpy()


def agrees(folder, composed, gap, side, reach=None) -> None:
    batch, found = composed.batch(TEXTS, side), composed.run(TEXTS, side)
    for row, mask in enumerate(batch["attention_mask"].bool()):
        expected = states(folder, batch["input_ids"][row][mask].tolist(), reach)
        assert gap(found["last_hidden_state"][row][mask.numpy()], expected) < 5e-5


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", PLAIN)
def test_is_causal_false_is_honoured(tiny_folder, adapted, gap, family, side):
    folder = tiny_folder(family)
    composed = adapted(folder, convert="embed", hf_overrides={"is_causal": False})
    agrees(folder, composed, gap, side)
    causal = adapted(folder, convert="embed").run(TEXTS)["last_hidden_state"]
    assert np.abs(causal[1, 0] - composed.run(TEXTS)["last_hidden_state"][1, 0]).max() > 1e-3


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", WINDOWED)
def test_a_window_reaches_to_both_sides(tiny_folder, adapted, gap, family, side):
    folder = tiny_folder(family)
    reach = AutoConfig.from_pretrained(folder).sliding_window
    agrees(folder, adapted(folder, convert="embed", hf_overrides={"is_causal": False}), gap, side, reach)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(("family", "reach"), [("gemma", None), ("gemma2", 8), ("gemma3_text", 4)])
def test_gemmas_own_key(tmp_path, adapted, gap, family, reach, side):
    """Gemma 1 and 2 read it for a text alone and forget it beside padding; Gemma 3 halves its window of 8."""
    folder = write_tiny(tmp_path / family, family)
    stated = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**stated, "use_bidirectional_attention": True}))
    composed = adapted(folder, convert="embed")
    (folder / "config.json").write_text(json.dumps(stated))
    agrees(folder, composed, gap, side, reach)


@pytest.mark.parametrize("model_type", ["llama", "llama_bidirec"])
@pytest.mark.parametrize("pooling", ["avg", "cls", "last"])
def test_the_bidirectional_llama_embedder(tmp_path, adapted, gap, model_type, pooling):
    """NVIDIA's class by its name alone, and by the model type of its own code, which is not run."""
    folder = write_tiny(tmp_path / "nemotron", "llama")
    stated = json.loads((folder / "config.json").read_text())
    code = {"AutoConfig": "llama_bidirectional_model.LlamaBidirectionalConfig"} if model_type != "llama" else {}
    changed = {"architectures": ["LlamaBidirectionalModel"], "model_type": model_type, "pooling": pooling}
    (folder / "config.json").write_text(json.dumps({**stated, **changed, "auto_map": code}))
    composed = adapted(folder)
    (folder / "config.json").write_text(json.dumps(stated))
    agrees(folder, composed, gap, "left")
    ids = composed.tokenizer(TEXTS[1])["input_ids"]
    row = states(folder, ids)
    pooled = {"avg": row.mean(axis=0), "cls": row[0], "last": row[-1]}[pooling]
    assert gap(composed.run(TEXTS)["sentence_embedding"][1], pooled / np.linalg.norm(pooled)) < 1e-5


def test_the_bidirectional_llama_reranker(tmp_path, gap):
    folder = write_tiny(tmp_path / "reranker", "llama", "sequence_1")
    stated = json.loads((folder / "config.json").read_text())
    changed = {"model_type": "llama_bidirec", "pooling": "avg", "temperature": 0.5}
    name = {"architectures": ["LlamaBidirectionalForSequenceClassification"]}
    (folder / "config.json").write_text(json.dumps({**stated, **changed, **name}))
    result = export_model(ExportRequest(model=str(folder), output=tmp_path / "bundle"))
    assert result.manifest.pooling.pooling == ("MEAN",)
    llm = LLM(tmp_path / "bundle", threads=1)
    (row,) = llm.score("a query", "a document", use_tqdm=False)
    (folder / "config.json").write_text(json.dumps(stated))
    pooled = states(folder, row.prompt_token_ids).mean(axis=0)
    from safetensors.numpy import load_file

    weight = load_file(folder / "model.safetensors")["score.weight"].astype(np.float64)
    logit = float(pooled @ weight[0]) / 0.5  # the model's own temperature
    assert row.outputs.score == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-5)


@pytest.mark.parametrize("family", ["qwen2", "mistral"])
def test_an_export_holds_the_bidirectional_graph(tmp_path, tiny_folder, gap, family):
    folder = tiny_folder(family)
    keys = {"hf_overrides": {"is_causal": False}, "pooler_config": {"pooling_type": "MEAN"}}
    export_model(ExportRequest(model=str(folder), output=tmp_path / "b", **keys))
    (row, _) = LLM(tmp_path / "b", threads=1).embed([TEXTS[1], "a"])
    pooled = states(folder, row.prompt_token_ids, 8 if family == "mistral" else None).mean(axis=0)
    assert gap(row.outputs.embedding, pooled / np.linalg.norm(pooled)) < 1e-5


def test_a_graph_that_stayed_causal_fails_the_export(tmp_path, tiny_folder, monkeypatch):
    """The gate's mask is written out, so that a key read nowhere cannot pass as agreement."""
    from pool_export.export import adapters, load

    monkeypatch.setattr(load, "set_bidirectional", lambda config: None)
    monkeypatch.setattr(adapters, "require_bidirectional", lambda backbone: None)
    named = {"architectures": ["LlamaBidirectionalModel"], "pooling": "avg"}
    request = ExportRequest(model=str(tiny_folder("llama")), output=tmp_path / "b", hf_overrides=named)
    with pytest.raises(ParityError, match="disagrees with the reference"):
        export_model(request)


@pytest.mark.parametrize("family", STAYS_CAUSAL)
def test_a_family_that_stays_causal_is_refused(tiny_folder, adapted, family):
    with pytest.raises(ExportError, match=f"{family} cannot be made bidirectional"):
        adapted(tiny_folder(family), convert="embed", hf_overrides={"is_causal": False})


@pytest.mark.parametrize("family", NO_EXPLICIT_MASK)
def test_a_family_that_cannot_be_checked_is_refused(tiny_folder, adapted, family):
    with pytest.raises(ExportError, match=f"{family} cannot be made bidirectional: its forward takes no explicit mask"):
        adapted(tiny_folder(family), convert="embed", hf_overrides={"is_causal": False})


@pytest.mark.parametrize("family", ["bert", "modernbert", "xlm-roberta"])
def test_an_encoder_with_the_key_stays_as_it_is(tiny_folder, adapted, family):
    plain = adapted(tiny_folder(family)).run(TEXTS)["sentence_embedding"]
    keyed = adapted(tiny_folder(family), hf_overrides={"is_causal": False}).run(TEXTS)["sentence_embedding"]
    assert np.array_equal(plain, keyed)


def test_the_mask_by_hand():
    class Config:
        sliding_window, layer_types, is_causal = 1, None, False

    mask = explicit_mask(Config(), 3)[0, 0]
    assert (mask == 0).tolist() == [[True, True, False], [True, True, True], [False, True, True]]
    Config.layer_types = ["sliding_attention", "full_attention"]
    both = explicit_mask(Config(), 3)
    assert torch.equal(both["sliding_attention"][0, 0], mask)
    assert (both["full_attention"] == 0).all()
    Config.layer_types = ["full_attention"]
    assert (explicit_mask(Config(), 3) == 0).all()
