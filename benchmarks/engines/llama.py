"""llama.cpp by way of llama-cpp-python: `Llama.embed` on a GGUF file in fp32, made from the checkpoint on first use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from . import Opened


def write_gguf(checkpoint: Path, target: Path) -> None:
    """Write a BERT checkpoint of MEAN pooling as GGUF in fp32, with the names and keys that llama.cpp reads."""
    import gguf
    from safetensors.numpy import load_file

    config = json.loads((checkpoint / "config.json").read_text("utf-8"))
    if config["model_type"] != "bert":
        raise ValueError(f"only BERT is written as GGUF here, got {config['model_type']}")
    writer = gguf.GGUFWriter(str(target), "bert")
    writer.add_name("benchmark")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    _vocabulary(writer, (checkpoint / "vocab.txt").read_text("utf-8").rstrip("\n").split("\n"), gguf.TokenType)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.BERT, config["num_hidden_layers"])
    for name, values in load_file(checkpoint / "model.safetensors").items():
        if name.startswith("pooler.") or name.endswith("position_ids"):
            continue
        found = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if found is None:
            raise ValueError(f"GGUF has no name for the tensor {name!r}")
        writer.add_tensor(found, np.float32(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _vocabulary(writer: Any, words: list[str], kinds: Any) -> None:
    """WordPiece as llama.cpp has it: a word's first piece begins with U+2581, the others lose their ``##``."""
    special = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}

    def piece(word: str) -> str:
        if word in special or (word.startswith("[") and word.endswith("]")):
            return word
        return word[2:] if word.startswith("##") else "\u2581" + word

    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_type_count(2)
    writer.add_token_list([piece(word) for word in words])
    writer.add_token_types([int(kinds.CONTROL if word in special else kinds.NORMAL) for word in words])
    writer.add_bos_token_id(words.index("[CLS]"))
    writer.add_eos_token_id(words.index("[SEP]"))
    writer.add_unk_token_id(words.index("[UNK]"))
    writer.add_sep_token_id(words.index("[SEP]"))
    writer.add_pad_token_id(words.index("[PAD]"))
    writer.add_mask_token_id(words.index("[MASK]"))


class LlamaCpp:
    """Fills its batches with as many texts as 512 tokens hold, so there is no batch size to choose."""

    PACKAGES = ("llama-cpp-python",)

    def __init__(self, opened: Opened) -> None:
        from llama_cpp import Llama

        checkpoint = Path(opened.checkpoint)
        path = checkpoint.parent / "model.gguf"
        if not path.exists():
            half = path.with_suffix(".part")
            write_gguf(checkpoint, half)
            half.rename(path)
        how = {"n_threads": opened.threads, "n_threads_batch": opened.threads, "n_ctx": 512}
        self._llm = Llama(str(path), embedding=True, verbose=False, **how)

    def embed(self, texts: list[str], batch_size: int | None) -> Any:
        return self._llm.embed(texts, normalize=True)

    @staticmethod
    def rows(answers: Any) -> np.ndarray:
        return np.array(answers, np.float32)
