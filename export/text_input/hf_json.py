"""BPE and Unigram in the graph: ``HfJsonTokenizer`` of onnxruntime-extensions, which reads ``tokenizer.json``.

The check decides, and with release 0.15.2 it refused every tokenizer it was given. Byte-level BPE without a normaliser
(RoBERTa) comes nearest, about 70 of 6,000 strings: the operator stops at NUL, takes one of the fractions for no
number, and leaves the white space before a special token that takes it along. Normalisers (NFC) are not applied,
Gemma's and Llama's splitting is another, and a list of normalisers (XLM-R, T5) cannot be loaded.
"""

from __future__ import annotations

import json

import onnx_ir as ir
from tokenizers import Tokenizer

from .nodes import TextBuilder

# The operator wants a configuration; special tokens are put around the ids by other nodes.
_CONFIG = {"tokenizer_class": "PreTrainedTokenizerFast", "add_bos_token": False, "add_eos_token": False}


def hf_json_ids(build: TextBuilder, text: ir.Value, tokenizer: Tokenizer, most: int) -> ir.Value:
    """Add the nodes from a text to its token ids, no special tokens around them.

    Args:
        build: collects the nodes.
        text: string ``[1]``.
        tokenizer: the bundle's.
        most: ids to keep.

    Returns:
        int64 ``[number of ids]``.
    """
    content = {**json.loads(tokenizer.to_str()), "post_processor": None, "padding": None, "truncation": None}
    ids = build.custom(
        "HfJsonTokenizer",
        text,
        tokenizer_vocab=json.dumps(content, ensure_ascii=False),
        tokenizer_config=json.dumps(_CONFIG),
    )
    return build.part_of(build.op("Reshape", ids, build.integer([-1])), 0, most)
