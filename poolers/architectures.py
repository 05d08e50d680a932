"""What an architecture name says about pooling: the suffix table, families, and per-class hooks.

Source of the rules: vLLM ``config/model.py`` (suffix table), ``model_executor/models/config.py``
(hooks) and ``layers/pooler`` (class defaults); the seed page keeps ``reward`` as a conversion.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .spec import Convert, PoolingType, Runner

# First match wins, tested with `endswith`; (suffix, runner, convert).
SUFFIXES: tuple[tuple[str, Runner, Convert], ...] = (
    ("ForCausalLM", "generate", "none"),
    ("ForConditionalGeneration", "generate", "none"),
    ("ChatModel", "generate", "none"),
    ("LMHeadModel", "generate", "none"),
    ("ForTextEncoding", "pooling", "embed"),
    ("EmbeddingModel", "pooling", "embed"),
    ("ForSequenceClassification", "pooling", "classify"),
    ("ForTokenClassification", "pooling", "classify"),
    ("ClassificationModel", "pooling", "classify"),
    ("ForRewardModeling", "pooling", "reward"),
    ("RewardModel", "pooling", "reward"),
    ("Model", "pooling", "embed"),
)

# vLLM classifies these too; named here so that the refusal can say why.
NON_TEXT_SUFFIXES: tuple[str, ...] = ("ForAudioClassification", "ForImageClassification", "ForVideoClassification")

# Bidirectional encoders: pooled at their first token when nothing else is said, as vLLM's
# encoder classes and its Transformers backend do. Everything else keeps the convert default.
_CLS_FAMILIES: tuple[str, ...] = (
    "albert",
    "bert",
    "big_bird",
    "camembert",
    "canine",
    "convbert",
    "data2vec-text",
    "deberta",
    "deberta-v2",
    "distilbert",
    "electra",
    "ernie",
    "esm",
    "esmc",
    "eurobert",
    "flaubert",
    "fnet",
    "funnel",
    "gte",
    "ibert",
    "jina_embeddings_v3",
    "layoutlm",
    "longformer",
    "luke",
    "megatron-bert",
    "mobilebert",
    "modernbert",
    "mpnet",
    "mra",
    "new",  # gte-multilingual
    "nezha",
    "nomic_bert",
    "nystromformer",
    "rembert",
    "roberta",
    "roberta-prelayernorm",
    "roc_bert",
    "roformer",
    "splinter",
    "squeezebert",
    "ultrabert",
    "xlm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
    "yoso",
)

# T5 encoders have no CLS token and an untrained last one; sentence-T5 (arXiv 2108.08877) uses the mean.
_MEAN_FAMILIES: tuple[str, ...] = ("t5", "mt5", "umt5", "longt5")

FAMILY_POOLING: dict[str, PoolingType] = {
    **dict.fromkeys(_CLS_FAMILIES, "CLS"),
    **dict.fromkeys(_MEAN_FAMILIES, "MEAN"),
    "xlnet": "LAST",  # a bidirectional encoder whose <cls> ends the text
}

# Learned positions that start at `pad_token_id + 1` and are counted over real tokens only.
OFFSET_POSITION_FAMILIES: frozenset[str] = frozenset(
    {
        "camembert",
        "data2vec-text",
        "esm",
        "ibert",
        "longformer",
        "luke",
        "mpnet",
        "roberta",
        "roberta-prelayernorm",
        "xlm-roberta",
        "xlm-roberta-xl",
        "xmod",
    }
)

# Model types that no graph can be right for. Some answer differently for a text alone and for the same text beside
# padding, by their own definition; others loop in Python over the length, so that a trace holds one length only.
_READS_PADDING = "it reads the padding beside a text"
_ONE_LENGTH = "it loops over the positions in Python, so a graph would hold one length only"
UNEXPORTABLE: dict[str, str] = {
    "convbert": _READS_PADDING,
    "fnet": _READS_PADDING,
    "funnel": _READS_PADDING,
    "jamba": _ONE_LENGTH,
    "jetmoe": "it splits the tokens among its experts by counts read into Python",
    "longformer": "it lays out its windows by branches on the data",
    "mamba": _ONE_LENGTH,
    "minimax": _ONE_LENGTH,
    "mra": "its attention is a CUDA kernel of its own",
    "nystromformer": _READS_PADDING,
    "qwen3_next": _ONE_LENGTH,
    "yoso": "transformers gives its attention a mask of another scale than it expects, and padding is attended to",
}

# Token embeddings of neighbours are read as well; beyond the ends of a text they count as zero.
TRIGRAM_FAMILIES: frozenset[str] = frozenset({"mobilebert"})

# Architecture -> the key of its config.json that names its pooling type.
POOLING_KEYS: dict[str, str] = {
    "LlamaBidirectionalModel": "pooling",
    "LlamaBidirectionalForSequenceClassification": "pooling",
}

# Decoder classes that attend to both sides by their name (vLLM's hooks set `is_causal=False` for them).
BIDIRECTIONAL_CLASSES: frozenset[str] = frozenset(POOLING_KEYS)

# Families whose `use_bidirectional_attention` is honoured by their own masks, window included.
OWN_BIDIRECTIONAL_FAMILIES: frozenset[str] = frozenset({"gemma3_text"})

# Model types of a repo's own code that are another type in all but the mask.
SAME_MODEL_TYPES: dict[str, str] = {"llama_bidirec": "llama"}

# What the head of a class sets where the user did not.
HOOKS: dict[str, dict[str, Any]] = {
    "JambaForSequenceClassification": {"use_activation": False},
    "EurusRewardModel": {"num_labels": 1},
    "InternLM2ForRewardModel": {"num_labels": 1},
    "LlamaRewardModel": {"num_labels": 1},
    "Qwen2ForRewardModel": {"use_activation": False, "num_labels": 1},
    "Qwen2ForProcessRewardModel": {"pooling_type": "STEP", "step_tag_id": 151651, "num_labels": 2},
    "JinaVLForRanking": {"num_labels": 1, "logit_mean": 2.65},
}


def is_bidirectional(architecture: str, config: Mapping[str, Any]) -> bool:
    """Whether a decoder attends to both sides: by its class, or by ``is_causal`` or Gemma's key in its config."""
    if config.get("model_type") in FAMILY_POOLING:
        return False  # an encoder already does
    return (
        architecture in BIDIRECTIONAL_CLASSES
        or config.get("is_causal") is False
        or bool(config.get("use_bidirectional_attention"))
    )


def match_suffix(architecture: str) -> tuple[Runner, Convert] | None:
    """Return the (runner, convert) of the first matching suffix, or ``None``."""
    for suffix, runner, convert in SUFFIXES:
        if architecture.endswith(suffix):
            return runner, convert
    return None
