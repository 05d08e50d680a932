"""The rows of rerankers, late interaction, sparse vectors, reward heads, and decoders that look both ways."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .cases import Case
from .questions import TEMPLATED, TRIMMED, named

_PAIRS = named("score", "1_1", "1_n", "n_n", "raw")
_CLASSIFIED = named("classify", "plain", "raw", "ids", "cut_7")
# Templates are longer than the tiny models' 128 tokens.
_LONG: dict[str, Any] = {
    "config": {"max_position_embeddings": 1024},
    "files": {"tokenizer_config.json": {"model_max_length": 1024}},
}
_TWO_WAY = {"method": "from_2_way_softmax"}

# name -> (family, what stands in the config.json or is given as hf_overrides)
_LANGUAGE_MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen3": (
        "qwen3",
        {
            "architectures": ["Qwen3ForSequenceClassification"],
            "classifier_from_token": ["no", "yes"],
            "is_original_qwen3_reranker": True,
        },
    ),
    "mxbai": (
        "qwen2",
        {"architectures": ["Qwen2ForSequenceClassification"], "classifier_from_token": ["0", "1"], **_TWO_WAY},
    ),
    "bge-gemma": (
        "gemma",
        {
            "architectures": ["GemmaForSequenceClassification"],
            "classifier_from_token": ["Yes"],
            "method": "no_post_processing",
        },
    ),
    "llama": (
        "llama",
        {"architectures": ["LlamaForSequenceClassification"], "classifier_from_token": ["No", "Yes"], **_TWO_WAY},
    ),
}
_THREE_WAY = {
    "architectures": ["Qwen3ForSequenceClassification"],
    "classifier_from_token": ["no", "yes", "true"],
    "method": "no_post_processing",
}


def _language_models() -> Iterator[Case]:
    asked = (*_CLASSIFIED, *_PAIRS, *TEMPLATED, *TRIMMED)
    for name, (family, overrides) in _LANGUAGE_MODELS.items():
        made = {"family": family, "head": "causal_lm", "hf_overrides": overrides, **_LONG}
        yield Case(name=f"rerank-{name}", answered=asked, **made)
    tied = {**_LONG, "config": {**_LONG["config"], "tie_word_embeddings": True}}
    overrides = _LANGUAGE_MODELS["qwen3"][1]
    made = {"family": "qwen3", "head": "causal_lm", "hf_overrides": overrides, **tied}
    yield Case(name="rerank-qwen3-tied", answered=(*_CLASSIFIED, *_PAIRS), **made)
    three = {"family": "qwen3", "head": "causal_lm", "hf_overrides": _THREE_WAY}
    yield Case(name="classify-qwen3-tokens-3", answered=_CLASSIFIED, **three)


def _cross_encoders() -> Iterator[Case]:
    for family in ("bert", "qwen3"):
        made = {"family": family, "head": "sequence_1", "answered": (*TEMPLATED, *TRIMMED)}
        limits = {"bert": {"config": {"max_position_embeddings": 1024}, "files": _LONG["files"]}, "qwen3": _LONG}
        yield Case(name=f"rerank-{family}-templates", **made, **limits[family])


def _late_interaction() -> Iterator[Case]:
    asked = {"task": "token_embed", "answered": (*named("token_embed", "plain", "ids", "cut_7"), *_PAIRS[:3])}
    tokens = {"pooler_config": {"pooling_type": "ALL"}}
    for family in ("bert", "modernbert", "qwen3"):
        yield Case(name=f"maxsim-{family}", family=family, **tokens, **asked)
    stated = {"config.json": {"architectures": ["HF_ColBERT"]}, "artifact.metadata": {"dim": 48}}
    weights = {"prefix": "bert.", "tensors": {"linear.weight": (48, 128)}}
    yield Case(name="maxsim-HF_ColBERT", family="bert", files=stated, **weights, **asked)


def _sparse() -> Iterator[Case]:
    splade: dict[str, Any] = {
        "hf_overrides": {"architectures": ["BertSpladeSparseEmbeddingModel"]},
        "copies": {
            "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
            "cls.predictions.decoder.bias": "cls.predictions.bias",
        },
    }
    splade |= {"family": "bert", "head": "masked_lm", "answered": named("embed", "plain", "ids")}
    # Real checkpoints do not name their markers in config.json.
    unnamed = {"config.json": {"cls_token_id": None, "sep_token_id": None}}
    yield Case(name="splade-bert", files=unnamed, **splade)
    yield Case(name="splade-bert-markers", **splade)
    heads = {"linears": {"sparse_linear.pt": (1, 128), "colbert_linear.pt": (128, 128)}}
    bge: dict[str, Any] = {"family": "xlm-roberta", "hf_overrides": {"architectures": ["BgeM3EmbeddingModel"]}, **heads}
    for task in ("embed", "token_embed"):
        yield Case(name=f"bge-m3-{task}", task=task, answered=named(task, "plain", "ids", "cut_7"), **bge)


def _both_ways() -> Iterator[Case]:
    brief = named("embed", "plain", "raw", "ids", "cut_7")
    for family, kind in (("qwen2", "MEAN"), ("qwen3", "MEAN"), ("qwen3", "LAST"), ("llama", "MEAN")):
        made = {"hf_overrides": {"is_causal": False}, "pooler_config": {"pooling_type": kind}}
        yield Case(name=f"both_ways-{family}-{kind}", family=family, answered=brief, **made)
    gemma = {"config": {"use_bidirectional_attention": True}, "modules": {"pooling": "mean"}}
    yield Case(name="both_ways-gemma3_text", family="gemma3_text", answered=brief, **gemma)
    for kind in ("avg", "cls", "last"):
        nvidia = {"hf_overrides": {"architectures": ["LlamaBidirectionalModel"], "pooling": kind}}
        yield Case(name=f"both_ways-LlamaBidirectional-{kind}", family="llama", answered=brief, **nvidia)
    reranker = {"architectures": ["LlamaBidirectionalForSequenceClassification"], "pooling": "avg"}
    made = {"family": "llama", "head": "sequence_1", "hf_overrides": reranker}
    yield Case(name="both_ways-LlamaBidirectional-1", answered=(*_CLASSIFIED, *_PAIRS), **made)


def _rewards() -> Iterator[Case]:
    asked: dict[str, Any] = {"task": "token_classify", "answered": named("reward", "plain", "ids")}
    for name, labels in (("Qwen2ForRewardModel", 1), ("Qwen2ForProcessRewardModel", 2)):
        shapes = {"score.0.weight": (128, 128), "score.0.bias": (128,)}
        shapes |= {"score.2.weight": (labels, 128), "score.2.bias": (labels,)}
        made = {"files": {"config.json": {"architectures": [name], "num_labels": labels}}, "tensors": shapes}
        # As a language model without a matrix of its own for the output: the names begin with `model.`.
        made |= {"head": "causal_lm", "config": {"tie_word_embeddings": True}}
        step = {"pooler_config": {"step_tag_id": 12}} if labels == 2 else {}
        yield Case(name=f"reward-{name}", family="qwen2", **made, **step, **asked)


def rows() -> Iterator[Case]:
    """Every row."""
    for part in (_language_models, _cross_encoders, _late_interaction, _sparse, _both_ways, _rewards):
        yield from part()
