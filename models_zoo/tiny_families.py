"""The families of tiny checkpoints: one row each, data only.

To add an architecture, add a row; ``tests/models_zoo`` then checks every head that transformers has
for it. A row holds what sets the family apart; shared sizes are in ``tiny.write_tiny``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class TinyFamily:
    """How to build a tiny checkpoint of one architecture.

    Attributes:
        stem: what the family's class names begin with (``Qwen3`` of ``Qwen3Config``).
        tokenizer: a key of ``tiny_tokenizers.TOKENIZERS``.
        decoder: causal attention; has a language-model head instead of a masked one.
        config: configuration values, as in ``config.json``.
        scaled: configuration values given as multiples of the hidden size.
        without: keys every family gets and this one refuses.
        layer_types: pattern repeated over the layers, for families that mix kinds of attention.
        heads: the only heads to offer; empty for all that transformers has.
        classes: head -> class name, where it is not the stem and the usual ending.
        position_offset: positions lost at the front of the table (RoBERTa counts from pad id + 1).
        gains: part of a parameter's name -> factor on its standard deviation.
    """

    stem: str
    tokenizer: str
    decoder: bool = False
    config: Mapping[str, Any] = field(default_factory=dict)
    scaled: Mapping[str, float] = field(default_factory=lambda: {"intermediate_size": 2})
    without: tuple[str, ...] = ()
    layer_types: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()
    classes: Mapping[str, str] = field(default_factory=dict)
    position_offset: int = 0
    gains: Mapping[str, float] = field(default_factory=dict)


# Fewer key/value heads than heads, and for some a head size that is not hidden size / heads:
# both are what the real checkpoints have and what naive exporters get wrong.
_GROUPED: dict[str, Any] = {"num_key_value_heads": 2}

FAMILIES: dict[str, TinyFamily] = {
    "bert": TinyFamily(stem="Bert", tokenizer="bert"),
    "roberta": TinyFamily(stem="Roberta", tokenizer="roberta", config={"type_vocab_size": 1}, position_offset=2),
    "xlm-roberta": TinyFamily(
        stem="XLMRoberta", tokenizer="xlm-roberta", config={"type_vocab_size": 1}, position_offset=2
    ),
    "distilbert": TinyFamily(stem="DistilBert", tokenizer="distilbert", scaled={"hidden_dim": 2}),
    "mpnet": TinyFamily(stem="MPNet", tokenizer="mpnet", position_offset=2),
    "modernbert": TinyFamily(
        stem="ModernBert",
        tokenizer="modernbert",
        config={"local_attention": 8},
        layer_types=("full_attention", "sliding_attention"),
    ),
    "qwen2": TinyFamily(stem="Qwen2", tokenizer="qwen2", decoder=True, config=_GROUPED),
    "qwen3": TinyFamily(
        stem="Qwen3", tokenizer="qwen3", decoder=True, config=_GROUPED, scaled={"intermediate_size": 2, "head_dim": 0.5}
    ),
    "llama": TinyFamily(stem="Llama", tokenizer="llama", decoder=True, config=_GROUPED),
    "gemma3_text": TinyFamily(
        stem="Gemma3Text",
        tokenizer="gemma",
        decoder=True,
        config={**_GROUPED, "sliding_window": 8},
        scaled={"intermediate_size": 2, "head_dim": 0.5, "query_pre_attn_scalar": 0.5},
        layer_types=("sliding_attention", "full_attention"),
        classes={"causal_lm": "Gemma3ForCausalLM"},
        # Embeddings are multiplied by sqrt(hidden size) and would drown what the layers add.
        gains={"embed_tokens": 0.75},
    ),
    # T5's sequence classifier also runs the decoder, so it is no encoder head.
    "t5": TinyFamily(
        stem="T5",
        tokenizer="t5",
        # Left out, the decoder (which AutoModel would build) gets T5's own six layers.
        config={"num_decoder_layers": 2},
        scaled={"d_ff": 2, "d_kv": 0.25},
        heads=("base", "token_5"),
        classes={"base": "T5EncoderModel"},
        # T5 does not divide attention scores by sqrt(head size).
        gains={"SelfAttention.q": 0.35},
    ),
}
