"""What is asked of a model, by name: the same on both sides but for `ours` and `theirs`."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path
from typing import Any

from pool_export import models_zoo
from pool_export.models_zoo.texts import hard_texts, pairs, sentences

# From three words to about forty, so that every batch is ragged; all of them below the tiny models' 128 tokens.
TEXTS = [text for text in sentences()[::9] if len(text) < 160][:12]
TOKEN_IDS = [[5, 9, 21, 34, 12, 40, 7], [8], list(range(6, 60)), [33, 33, 12]]
LONG = hard_texts()[-1]
# A marker written out in a text becomes that special token; apart, because not all readers take the pad token alike.
_MARKERS = [text for text in hard_texts() if "<pad>" in text]
_HARD = [text for text in hard_texts() if text.strip() and text not in _MARKERS]

# Lengths from 1 to the limit, ordinary ids (no tokenizer here has special ones among them), pieces of running text.
_RANDOM = random.Random(0)
_RANDOM_IDS = [[_RANDOM.randrange(10, 500) for _ in range(_RANDOM.randint(1, 128))] for _ in range(32)]
_RANDOM_TEXTS = [LONG[start : start + _RANDOM.randint(1, 700)].strip() for start in range(0, 1600, 64)]

_RAW = {"use_activation": False}
_PAIRS = [pair for pair in pairs() if len(pair[0]) + len(pair[1]) < 150][:6]
_QUERIES, _DOCUMENTS = [query for query, _ in _PAIRS], [document for _, document in _PAIRS]


def _calls(method: str, **fixed: Any) -> dict[str, dict[str, Any]]:
    """The requests that every task has, for one method."""

    def call(prompts: Any = TEXTS, params: Any = None, **options: Any) -> dict[str, Any]:
        return {"method": method, "prompts": prompts, "params": params, "options": {**fixed, **options}}

    return {
        "plain": call(),
        "one": call(TEXTS[0]),
        "raw": call(params=_RAW),
        "mixed": call(params=[{"use_activation": index % 3 != 0} for index in range(len(TEXTS))]),
        "ids": call(TOKEN_IDS),
        "no_specials": call(tokenization_kwargs={"add_special_tokens": False}),
        "cut_7": call(tokenization_kwargs={"truncate_prompt_tokens": 7}),
        "cut_limit": call([LONG, *TEXTS[:3]], tokenization_kwargs={"truncate_prompt_tokens": -1}),
        "hard": call(_HARD, tokenization_kwargs={"truncate_prompt_tokens": -1}),
        "markers": call(_MARKERS),
        "random_ids": call(_RANDOM_IDS),
        "random_texts": call(_RANDOM_TEXTS, tokenization_kwargs={"truncate_prompt_tokens": -1}),
        "empty": call([""]),
        "too_long": call([LONG]),
        "cut_above_limit": call(tokenization_kwargs={"truncate_prompt_tokens": 100_000}),
        "unknown_id": call([[5, 999_999]]),
        "no_prompts": call([]),
        "params_of_another_count": call(params=[{}, {}]),
        "dimensions_8": call(params={"dimensions": 8}),
        "dimensions_16": call(params={"dimensions": 16}),
        "dimensions_8_raw": call(params={"dimensions": 8, **_RAW}),
        "dimensions_mixed": call(params=[{"dimensions": 8} if index % 2 else {} for index in range(len(TEXTS))]),
        "dimensions_0": call(params={"dimensions": 0}),
        "dimensions_4096": call(params={"dimensions": 4096}),
        "step_tag": call(params={"step_tag_id": 12}),
        "step_columns": call(params={"returned_token_ids": [3, 1]}),
        "ids_step_tag": call(TOKEN_IDS, params={"step_tag_id": 12}),
        "ids_step_columns": call(TOKEN_IDS, params={"step_tag_id": 12, "returned_token_ids": [3, 1]}),
    }


# vLLM's score templates are this project's too; beside them one that shows each of its parts.
_OWN_TEMPLATE = """\
{%- set query = (messages | selectattr("role", "eq", "query") | first).content -%}
{%- set document = (messages | selectattr("role", "eq", "document") | first).content -%}
Task: {{ instruction | default("find it") }}
Query: {{ query }}
Document: {{ document }}
Relevant:"""
_TEMPLATES = {path.stem: path for path in sorted((Path(models_zoo.__file__).parent / "templates").glob("*.jinja"))}


def _templated() -> dict[str, dict[str, Any]]:
    """Pairs through a template; what goes beside it has a keyword of ours and a side channel of vLLM's."""
    texts = {"own": _OWN_TEMPLATE, **{name: path.read_text("utf-8") for name, path in _TEMPLATES.items()}}
    calls = {f"score.template-{name}": _score(_QUERIES, _DOCUMENTS, chat_template=text) for name, text in texts.items()}
    calls["score.template-own-1_n"] = _score(_QUERIES[0], _DOCUMENTS, chat_template=_OWN_TEMPLATE)

    def with_channel(ours: dict[str, Any], theirs: dict[str, Any], **options: Any) -> dict[str, Any]:
        call = _score(_QUERIES, _DOCUMENTS, **options)
        return {**call, "ours": {"options": {**options, **ours}}, "theirs": {"params": {"extra_kwargs": theirs}}}

    asked = {"instruction": "is it so?"}
    calls["score.instruction"] = with_channel(asked, {"chat_template_kwargs": asked}, chat_template=_OWN_TEMPLATE)
    for key in ("max_tokens_per_query", "max_tokens_per_doc"):
        calls[f"score.{key}"] = with_channel({key: 4}, {key: 4})
    return calls


def _score(queries: Any, documents: Any, **options: Any) -> dict[str, Any]:
    return {"method": "score", "queries": queries, "documents": documents, "options": options}


@cache
def requests() -> dict[str, dict[str, Any]]:
    """Every request: `TASK.NAME` for the methods that take prompts, `score.NAME` for pairs."""
    tasks = {
        "embed": _calls("embed"),
        "classify": _calls("classify"),
        "token_embed": _calls("encode", pooling_task="token_embed"),
        "token_classify": _calls("encode", pooling_task="token_classify"),
        "encode_embed": _calls("encode", pooling_task="embed"),
        "encode_classify": _calls("encode", pooling_task="classify"),
    }
    made = {f"{task}.{name}": call for task, calls in tasks.items() for name, call in calls.items()}
    # Our `reward` is 0.32's `token_classify`, without an activation (the seed page's table).
    for name, call in _calls("encode", pooling_task="token_classify").items():
        ours = {"method": "reward", "options": _without_task(call)}
        made[f"reward.{name}"] = {**call, "ours": ours, "theirs": {"params": call["params"] or _RAW}}
    # ... and of a model without a head its hidden states, which 0.32 has as `token_embed` without one.
    states = _calls("encode", pooling_task="token_embed")["raw"]
    made["states.plain"] = {**states, "ours": {"method": "reward", "params": None, "options": _without_task(states)}}
    made |= {
        "score.1_1": _score(_QUERIES[0], _DOCUMENTS[0]),
        "score.1_n": _score(_QUERIES[1], _DOCUMENTS),
        "score.n_n": _score(_QUERIES, _DOCUMENTS),
        "score.raw": {**_score(_QUERIES, _DOCUMENTS), "params": _RAW},
        "score.cut_9": _score(_QUERIES, _DOCUMENTS, tokenization_kwargs={"truncate_prompt_tokens": 9}),
        "score.n_1": _score(_QUERIES, _DOCUMENTS[0]),
        "score.2_3": _score(_QUERIES[:2], _DOCUMENTS[:3]),
        "score.none": _score([], _DOCUMENTS),
    }
    return made | _templated()


def _without_task(call: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in call["options"].items() if key != "pooling_task"}


def sides(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """One request as each side gets it: ours, then theirs."""
    call = requests()[name]
    plain = {key: value for key, value in call.items() if key not in ("ours", "theirs")}
    return {**plain, **call.get("ours", {})}, {**plain, **call.get("theirs", {})}


def named(task: str, *names: str) -> tuple[str, ...]:
    """`named("embed", "plain", "raw")` -> `("embed.plain", "embed.raw")`."""
    return tuple(f"{task}.{name}" for name in names)


_USUAL = (
    "plain",
    "one",
    "raw",
    "mixed",
    "ids",
    "no_specials",
    "cut_7",
    "cut_limit",
    "hard",
    "markers",
    "random_ids",
    "random_texts",
)
_NEVER = ("too_long", "cut_above_limit", "unknown_id", "no_prompts", "params_of_another_count")
_PAIRED = ("1_1", "1_n", "n_n", "cut_9")
_NOT_PAIRED = ("n_1", "2_3", "none")

TEMPLATED = tuple(name for name in _templated() if name.startswith(("score.template", "score.instruction")))
TRIMMED = named("score", "max_tokens_per_query", "max_tokens_per_doc")

# What a model of each task answers, and what it refuses.
EMBED: dict[str, tuple[str, ...]] = {
    "answered": (*named("embed", *_USUAL), "encode_embed.plain", *named("score", *_PAIRED)),
    "refused": (*named("embed", *_NEVER, "dimensions_8", "step_tag"), "classify.plain", *named("score", *_NOT_PAIRED)),
}
CLASSIFY: dict[str, tuple[str, ...]] = {
    "answered": (*named("classify", *_USUAL), "encode_classify.plain"),
    "refused": (*named("classify", *_NEVER, "dimensions_8", "step_tag"), "embed.plain", "score.1_1"),
}
# One label: the model scores pairs as well.
RERANK: dict[str, tuple[str, ...]] = {
    "answered": (*CLASSIFY["answered"], *named("score", *_PAIRED, "raw")),
    "refused": (*CLASSIFY["refused"][:-1], *named("score", *_NOT_PAIRED)),
}
TOKEN_EMBED: dict[str, tuple[str, ...]] = {
    "answered": named("token_embed", *_USUAL),
    "refused": (*named("token_embed", "too_long", "dimensions_8", "step_tag"), "classify.plain"),
}
TOKEN_CLASSIFY: dict[str, tuple[str, ...]] = {
    "answered": named("token_classify", *_USUAL),
    "refused": (*named("token_classify", "too_long", "dimensions_8", "step_tag"), "embed.plain", "score.1_1"),
}
