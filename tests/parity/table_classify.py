"""The rows of classifiers: heads, activations, calibration, pooling types, cross-encoders, tokens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .cases import Case
from .questions import CLASSIFY, RERANK, TOKEN_CLASSIFY, named

FAMILIES = ("bert", "roberta", "xlm-roberta", "modernbert", "qwen2", "qwen3", "llama", "gpt2")
TOKEN_FAMILIES = ("bert", "roberta", "xlm-roberta", "modernbert", "qwen3")
BRIEF: dict[str, tuple[str, ...]] = {"answered": named("classify", "plain", "raw", "ids", "cut_7")}
PAIRS: dict[str, tuple[str, ...]] = {"answered": (*BRIEF["answered"], *named("score", "1_n", "n_n", "raw", "cut_9"))}

_TORCH = "torch.nn.modules"
# name -> keys of config.json
_ACTIVATIONS: dict[str, dict[str, Any]] = {
    "st-Identity": {"sentence_transformers": {"activation_fn": f"{_TORCH}.linear.Identity", "version": "5.1.0"}},
    "st-Sigmoid": {"sentence_transformers": {"activation_fn": f"{_TORCH}.activation.Sigmoid", "version": "5.1.0"}},
    "sbert-Identity": {"sbert_ce_default_activation_function": f"{_TORCH}.linear.Identity"},
    "st-Tanh": {"sentence_transformers": {"activation_fn": f"{_TORCH}.activation.Tanh"}},
    "regression": {"problem_type": "regression"},
    "multi_label": {"problem_type": "multi_label_classification"},
    "single_label": {"problem_type": "single_label_classification"},
}


def _families() -> Iterator[Case]:
    for family in FAMILIES:
        yield Case(name=f"classify-{family}-1", family=family, head="sequence_1", **RERANK)
        yield Case(name=f"classify-{family}-3", family=family, head="sequence_3", **CLASSIFY)
    unread = named("classify", "plain")
    yield Case(name="classify-gemma3_text-1", family="gemma3_text", head="sequence_1", answered=unread)


def _activations() -> Iterator[Case]:
    for name, config in _ACTIVATIONS.items():
        if name != "single_label":  # transformers refuses it for one label
            yield Case(name=f"classify-bert-1-{name}", family="bert", head="sequence_1", config=config, **PAIRS)
    for name in ("regression", "multi_label", "single_label"):
        config = _ACTIVATIONS[name]
        yield Case(name=f"classify-qwen3-3-{name}", family="qwen3", head="sequence_3", config=config, **BRIEF)
    softmax = _ACTIVATIONS["st-Sigmoid"]
    yield Case(name="classify-bert-3-st-Sigmoid", family="bert", head="sequence_3", config=softmax, **BRIEF)
    own = {"sentence_transformers": {"activation_fn": "somebody.elses.Function"}}
    untrusted = {"config": own, "refused": ("classify.plain",)}
    yield Case(name="classify-bert-1-st-untrusted", family="bert", head="sequence_1", **untrusted)


def _pooler_configs() -> Iterator[Case]:
    mean, both = {"logit_mean": 0.7}, {"logit_mean": -0.4, "logit_sigma": 2.5}
    yield Case(name="classify-bert-1-logit_mean", family="bert", head="sequence_1", pooler_config=mean, **PAIRS)
    for family in ("qwen3", "bert"):
        name = f"classify-{family}-3-logit_mean-sigma"
        yield Case(name=name, family=family, head="sequence_3", pooler_config=both, **BRIEF)
    off = {"use_activation": False}
    yield Case(name="classify-bert-3-off", family="bert", head="sequence_3", pooler_config=off, **BRIEF)
    for family, kind in (("bert", "MEAN"), ("bert", "LAST"), ("roberta", "MEAN"), ("qwen3", "MEAN"), ("llama", "CLS")):
        name, kinds = f"classify-{family}-3-{kind}", {"pooling_type": kind}
        yield Case(name=name, family=family, head="sequence_3", pooler_config=kinds, **BRIEF)
    for kind in ("cls", "mean"):
        config = {"classifier_pooling": kind}
        name = f"classify-modernbert-3-classifier_pooling-{kind}"
        yield Case(name=name, family="modernbert", head="sequence_3", config=config, **BRIEF)
    user = {"config": {"classifier_pooling": "cls"}, "pooler_config": {"pooling_type": "MEAN"}}
    yield Case(name="classify-modernbert-3-user", family="modernbert", head="sequence_3", **user, **BRIEF)


def _conversions() -> Iterator[Case]:
    for family in ("bert", "qwen3", "roberta"):
        concat = {"hf_overrides": {"use_sep_token": False}}
        yield Case(name=f"classify-{family}-1-concat", family=family, head="sequence_1", **concat, **PAIRS)
    for family, name in (("qwen3", "Qwen3ForCausalLM"), ("llama", "LlamaForCausalLM")):
        # A language model's class with a `score` matrix in its weights.
        forced = {"hf_overrides": {"architectures": [name]}, "convert": "classify"}
        yield Case(name=f"classify-{family}-1-causal_lm", family=family, head="sequence_1", **forced, **PAIRS)
    headless = {"head": "causal_lm", "convert": "classify", "refused": ("classify.plain",)}
    yield Case(name="classify-qwen3-headless", family="qwen3", **headless)
    # The backbone of a classifier, without its head.
    for family in ("bert", "qwen3"):
        embedded = {"convert": "embed", "answered": named("embed", "plain", "raw")}
        yield Case(name=f"embed-{family}-of-classifier", family=family, head="sequence_3", **embedded)


def _tokens() -> Iterator[Case]:
    for family in TOKEN_FAMILIES:
        yield Case(name=f"token_classify-{family}", family=family, head="token_5", **TOKEN_CLASSIFY)
    calibrated = {"pooler_config": {"logit_mean": -0.4, "logit_sigma": 2.5}}
    brief = {"answered": named("token_classify", "plain", "raw")}
    yield Case(name="token_classify-bert-logit_mean-sigma", family="bert", head="token_5", **calibrated, **brief)
    for kind in ("regression", "multi_label"):
        stated = {"config": _ACTIVATIONS[kind]}
        yield Case(name=f"token_classify-bert-{kind}", family="bert", head="token_5", **stated, **brief)
    # The head of a sequence classifier for every token: vLLM's `token_classify`, our `--convert reward`.
    asked = {"answered": named("reward", "plain", "raw", "ids"), "task": "token_classify"}
    for family, head in (("qwen3", "sequence_1"), ("llama", "sequence_3"), ("bert", "sequence_3")):
        per_token = {"ours": {"convert": "reward"}, **asked}
        yield Case(name=f"reward-{family}-{head}", family=family, head=head, **per_token)


def rows() -> Iterator[Case]:
    """Every row."""
    for part in (_families, _activations, _pooler_configs, _conversions, _tokens):
        yield from part()
