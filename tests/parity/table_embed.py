"""The rows of embedding models: families, pooling types, sentence-transformers' files, Matryoshka sizes, tokens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .cases import Case
from .questions import EMBED, TOKEN_EMBED, named

# The classes vLLM has of its own. The others it runs through transformers', which on a CPU do not load or answer NaN.
NATIVE = (
    "bert", "roberta", "xlm-roberta", "modernbert", "qwen2", "qwen3", "llama", "gemma3_text", "gpt2", "mistral",
    "gemma2", "phi3",
)  # fmt: skip
CAUSAL = ("qwen2", "qwen3", "llama", "gemma3_text", "mistral")
BRIEF: dict[str, tuple[str, ...]] = {"answered": named("embed", "plain", "raw", "ids", "cut_7")}

_POOLED = {"bert": ("LAST", "MEAN"), "roberta": ("MEAN",), "modernbert": ("LAST", "MEAN"), "qwen3": ("CLS", "MEAN")}
_POOLED |= {"llama": ("MEAN",), "gemma3_text": ("MEAN",), "qwen2": ("CLS",)}

# vLLM does not open a sentence_bert_config.json whose `max_seq_length` is null.
_OLD = {"dialect": "old", "max_seq_length": 128}
# name -> (families, what write_modules is told)
_ST: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "cls": (("bert", "modernbert"), {"pooling": "cls"}),
    "cls-raw-old": (("bert",), {"pooling": "cls", "normalize": False, **_OLD}),
    "mean-old": (("bert", "qwen3"), {"pooling": "mean", **_OLD}),
    "mean-raw": (("bert", "gemma3_text"), {"pooling": "mean", "normalize": False}),
    "last": (("qwen3", "qwen2"), {"pooling": "lasttoken"}),
    "last-raw-old": (("qwen3",), {"pooling": "lasttoken", "normalize": False, **_OLD}),
    "short-lower-old": (("bert",), {**_OLD, "max_seq_length": 16, "do_lower_case": True}),
    "short-new": (("bert",), {"max_seq_length": 16}),
    "prompts": (("bert",), {"prompts": {"query": "query: "}, "default_prompt_name": "query"}),
    "dot": (("bert",), {"similarity_fn_name": "dot", "normalize": False}),
    "max": (("bert",), {"pooling": "max", **_OLD}),
    "weightedmean": (("qwen3",), {"pooling": "weightedmean", **_OLD}),
    "mean_sqrt_len": (("bert",), {"pooling": "mean_sqrt_len_tokens", **_OLD, "normalize": False}),
    "cls+mean": (("bert",), {"pooling": ("cls", "mean"), **_OLD}),
    "layer_norm": (("bert",), {"layer_norm": True}),
}
_DENSE: dict[str, dict[str, Any]] = {
    "dense-tanh": {"dense": [(128, 48, "tanh")]},
    "dense-gemma": {"dense": [(128, 192, "identity"), (192, 64, "identity")], "dense_bias": False},
    "dense-relu-raw": {"dense": [(128, 48, "relu")], "normalize": False, **_OLD},
    "dense-gelu-silu": {"dense": [(128, 48, "gelu"), (48, 40, "silu")], **_OLD},
    "dense-sigmoid": {"dense": [(128, 48, "sigmoid")]},
}


def _families() -> Iterator[Case]:
    for family in NATIVE:
        yield Case(name=f"embed-{family}", family=family, **EMBED)
    newer = {"config": {"position_embedding_type": None}, "answered": named("embed", "plain", "cut_limit")}
    yield Case(name="embed-roberta-new-config", family="roberta", **newer)
    for family in CAUSAL:
        yield Case(name=f"embed-{family}-causal_lm", family=family, head="causal_lm", convert="embed", **EMBED)


def _pooling_types() -> Iterator[Case]:
    for family, kinds in _POOLED.items():
        for kind in kinds:
            yield Case(name=f"embed-{family}-{kind}", family=family, pooler_config={"pooling_type": kind}, **BRIEF)
    split = {"seq_pooling_type": "MEAN"}
    yield Case(name="embed-bert-seq_pooling_type", family="bert", pooler_config=split, **BRIEF)
    off = {"use_activation": False}
    turned = {"answered": (*named("embed", "plain", "mixed", "raw"), "score.n_n")}
    for family in ("bert", "qwen3"):
        yield Case(name=f"embed-{family}-unnormalised", family=family, pooler_config=off, **turned)
    ours, nobodys = {"pooling_type": "MAX"}, {"pooling_type": "MEDIAN"}
    yield Case(name="embed-bert-MAX", family="bert", pooler_config=ours, answered=("embed.plain",))
    yield Case(name="embed-bert-MEDIAN", family="bert", pooler_config=nobodys, refused=("embed.plain",))


def _sentence_transformers() -> Iterator[Case]:
    brief = {"answered": (*BRIEF["answered"], "score.n_n")}
    for name, (families, modules) in _ST.items():
        for family in families:
            short = {"answered": named("embed", "cut_7", "cut_limit"), "refused": ("embed.too_long",)}
            asked = short if name.startswith("short") else brief
            yield Case(name=f"st-{family}-{name}", family=family, modules=modules, **asked)
    for name, modules in _DENSE.items():
        yield Case(name=f"st-bert-{name}", family="bert", modules=modules, **brief)
    over = {"pooling_type": "CLS", "use_activation": False}
    yield Case(name="st-bert-user", family="bert", modules={"pooling": "mean"}, pooler_config=over, **brief)
    skipped = {"pooling": "mean", "include_prompt": False, "prompts": {"query": "query: "}}
    yield Case(name="st-qwen3-include_prompt", family="qwen3", modules=skipped, **brief)
    causal = {"pooling": "lasttoken"}
    yield Case(name="st-qwen3-causal_lm", family="qwen3", head="causal_lm", modules=causal, **brief)
    yield Case(name="st-modernbert-mean", family="modernbert", modules={"pooling": "mean"}, **brief)


def _matryoshka() -> Iterator[Case]:
    sizes = named("embed", "dimensions_8", "dimensions_16", "dimensions_8_raw", "dimensions_mixed", "plain")
    wrong = named("embed", "dimensions_0", "dimensions_4096")
    any_size, listed = {"is_matryoshka": True}, {"matryoshka_dimensions": [8, 32]}
    dense: dict[str, Any] = {"dense": [(128, 48, "tanh")]}
    both = {"answered": sizes, "refused": wrong}
    yield Case(name="matryoshka-bert", family="bert", hf_overrides=any_size, **both)
    yield Case(name="matryoshka-qwen3-config", family="qwen3", config=any_size, **both)
    yield Case(name="matryoshka-bert-dense", family="bert", modules=dense, hf_overrides=any_size, **both)
    limited = (*wrong, "embed.dimensions_16")
    allowed = tuple(name for name in sizes if name != "embed.dimensions_16")
    yield Case(name="matryoshka-bert-list", family="bert", hf_overrides=listed, answered=allowed, refused=limited)
    default = {"pooler_config": {"dimensions": 8}, "hf_overrides": any_size}
    yield Case(name="matryoshka-bert-default", family="bert", **default, **both)


def _tokens() -> Iterator[Case]:
    for family in ("bert", "roberta", "modernbert", "qwen2", "qwen3", "llama", "gemma3_text"):
        yield Case(name=f"token_embed-{family}", family=family, task="token_embed", **TOKEN_EMBED)
    ours = {"pooling_type": "ALL"}
    yield Case(name="token_embed-bert-ALL", family="bert", pooler_config=ours, task="token_embed", **TOKEN_EMBED)
    for name, modules in (("tanh", _DENSE["dense-tanh"]), ("relu-raw", _DENSE["dense-relu-raw"])):
        asked = {"answered": named("token_embed", "plain", "raw", "ids", "cut_7")}
        yield Case(name=f"token_embed-bert-dense-{name}", family="bert", modules=modules, task="token_embed", **asked)
    step = {"pooling_type": "STEP", "step_tag_id": 12, "returned_token_ids": [3, 1]}
    asked = {"answered": named("token_embed", "ids", "ids_step_tag", "ids_step_columns")}
    yield Case(name="token_embed-qwen3-STEP", family="qwen3", pooler_config=step, task="token_embed", **asked)
    for family in ("qwen3", "bert"):
        states = {"task": "token_embed", "ours": {"convert": "reward"}, "answered": ("states.plain",)}
        yield Case(name=f"reward-{family}-states", family=family, **states)


def rows() -> Iterator[Case]:
    """Every row."""
    for part in (_families, _pooling_types, _sentence_transformers, _matryoshka, _tokens):
        yield from part()
