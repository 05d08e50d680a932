"""Further encoders, for the sweep over every architecture; ``tiny_families`` has the everyday ones."""

from __future__ import annotations

from typing import Any

from .tiny_families import TinyFamily

# Learned positions that begin behind the pad token's id.
_OFFSET: dict[str, Any] = {"tokenizer": "roberta", "position_offset": 2}
_ONE_SEGMENT = {"type_vocab_size": 1}

ENCODERS: dict[str, TinyFamily] = {
    "albert": TinyFamily(stem="Albert", tokenizer="bert", config={"embedding_size": 16}),
    "big_bird": TinyFamily(stem="BigBird", tokenizer="bert", config={"attention_type": "original_full"}),
    "camembert": TinyFamily(stem="Camembert", tokenizer="xlm-roberta", config=_ONE_SEGMENT, position_offset=2),
    "convbert": TinyFamily(stem="ConvBert", tokenizer="bert", config={"embedding_size": 16, "conv_kernel_size": 3}),
    "data2vec-text": TinyFamily(stem="Data2VecText", config=_ONE_SEGMENT, **_OFFSET),
    "deberta": TinyFamily(
        stem="Deberta",
        tokenizer="distilbert",
        config={
            "relative_attention": True,
            "max_relative_positions": 16,
            "pos_att_type": ["c2p", "p2c"],
            "position_biased_input": False,
            "type_vocab_size": 0,
        },
    ),
    "deberta-v2": TinyFamily(
        stem="DebertaV2",
        tokenizer="distilbert",
        config={
            "relative_attention": True,
            "position_buckets": 16,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "pos_att_type": ["c2p", "p2c"],
            "position_biased_input": False,
            "type_vocab_size": 0,
        },
    ),
    "electra": TinyFamily(stem="Electra", tokenizer="bert", config={"embedding_size": 16}),
    "ernie": TinyFamily(stem="Ernie", tokenizer="bert"),
    "esm": TinyFamily(
        stem="Esm",
        config={"position_embedding_type": "rotary", "token_dropout": True, "emb_layer_norm_before": False},
        **_OFFSET,
    ),
    "esmc": TinyFamily(stem="Esmc", tokenizer="roberta"),
    "eurobert": TinyFamily(stem="EuroBert", tokenizer="modernbert", config={"classifier_pooling": "mean"}),
    "flaubert": TinyFamily(stem="Flaubert", tokenizer="roberta"),
    "fnet": TinyFamily(stem="FNet", tokenizer="bert"),
    "funnel": TinyFamily(
        stem="Funnel",
        tokenizer="bert",
        config={"block_sizes": [1, 1], "num_decoder_layers": 1},
        without=("num_hidden_layers",),
        scaled={"d_inner": 2, "d_head": 0.25},
    ),
    "gte": TinyFamily(stem="Gte", tokenizer="bert"),
    "ibert": TinyFamily(stem="IBert", config=_ONE_SEGMENT, **_OFFSET),
    "jina_embeddings_v3": TinyFamily(stem="JinaEmbeddingsV3", tokenizer="xlm-roberta"),
    "longformer": TinyFamily(stem="Longformer", config={**_ONE_SEGMENT, "attention_window": 8}, **_OFFSET),
    "luke": TinyFamily(stem="Luke", config={**_ONE_SEGMENT, "entity_vocab_size": 8, "entity_emb_size": 16}, **_OFFSET),
    "megatron-bert": TinyFamily(stem="MegatronBert", tokenizer="bert"),
    "mobilebert": TinyFamily(
        stem="MobileBert",
        tokenizer="bert",
        scaled={"intermediate_size": 2, "embedding_size": 0.5, "intra_bottleneck_size": 0.5},
        # Its "norms" do not normalise.
        gains={"encoder.layer": 0.5},
    ),
    "mra": TinyFamily(stem="Mra", tokenizer="bert"),
    "nomic_bert": TinyFamily(stem="NomicBert", tokenizer="bert"),
    "nystromformer": TinyFamily(stem="Nystromformer", tokenizer="bert"),
    "rembert": TinyFamily(
        stem="RemBert",
        tokenizer="bert",
        config={"input_embedding_size": 16},
        scaled={"intermediate_size": 2, "output_embedding_size": 0.5},
    ),
    "roberta-prelayernorm": TinyFamily(stem="RobertaPreLayerNorm", config=_ONE_SEGMENT, **_OFFSET),
    "roformer": TinyFamily(stem="RoFormer", tokenizer="bert"),
    "squeezebert": TinyFamily(
        stem="SqueezeBert", tokenizer="bert", scaled={"intermediate_size": 2, "embedding_size": 1}
    ),
    "ultrabert": TinyFamily(stem="Ultrabert", tokenizer="modernbert"),
    "xlm": TinyFamily(stem="XLM", tokenizer="roberta"),
    "xlm-roberta-xl": TinyFamily(stem="XLMRobertaXL", tokenizer="xlm-roberta", config=_ONE_SEGMENT, position_offset=2),
    "xlnet": TinyFamily(
        stem="XLNet",
        tokenizer="bert",
        without=("max_position_embeddings",),
        scaled={"d_inner": 2, "d_head": 0.25},
    ),
    "xmod": TinyFamily(
        stem="Xmod",
        tokenizer="xlm-roberta",
        config={**_ONE_SEGMENT, "default_language": "en_XX"},
        position_offset=2,
    ),
    "yoso": TinyFamily(stem="Yoso", tokenizer="bert"),
    "mt5": TinyFamily(
        stem="MT5",
        tokenizer="t5",
        config={"num_decoder_layers": 2},
        scaled={"d_ff": 2, "d_kv": 0.25},
        heads=("base", "token_5"),
        classes={"base": "MT5EncoderModel"},
        gains={"SelfAttention.q": 0.35},
    ),
    "umt5": TinyFamily(
        stem="UMT5",
        tokenizer="t5",
        config={"num_decoder_layers": 2},
        scaled={"d_ff": 2, "d_kv": 0.25},
        heads=("base", "token_5"),
        classes={"base": "UMT5EncoderModel"},
        gains={"SelfAttention.q": 0.35},
    ),
}
