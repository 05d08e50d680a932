"""docs/zoo.md is made from the model cards; `make docs` rewrites it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pool_export.models_zoo.card import HAZARDS, ModelCard
from pool_export.models_zoo.catalog import cards

HEAD = """# Models

Made from the cards in `models_zoo/cards/` by `make docs`; do not edit.

A card says what is known of a model beyond its files: pooling, prompts, sizes, licence. `pool-export MODEL` looks the
card up by the Hub id (`--card ID` names one for a local folder, `--card none` uses none) and fills in what the files
do not say. Files win over a card, and options over both; every value a card gave, and every point where a card and
the files disagree, is printed and stored in the bundle. `pool-export zoo show MODEL` prints a card;
`pool-export zoo check` proves the native ones on tiny checkpoints of the same config class.

What `export` means: **native** — by transformers' own classes, proven on a tiny checkpoint of the same class (random
weights; the real ones were not at hand); **remote-code** — only with `--trust-remote-code`, not proven; **unsupported**
— with the reason below.
"""
KINDS: tuple[tuple[str, Callable[[ModelCard], bool]], ...] = (
    ("Embedders", lambda card: card.task == "embed"),
    ("Late interaction", lambda card: card.task == "token_embed"),
    ("Rerankers and pair scorers", lambda card: card.task == "score"),
    ("Classifiers", lambda card: card.task in ("classify", "token_classify")),
    ("Reward models", lambda card: card.task == "reward"),
)


def size(card: ModelCard) -> str:
    if card.num_labels:
        return f"{card.num_labels}"
    return str(card.embedding_size or "")


def matryoshka(card: ModelCard) -> str:
    return card.matryoshka if isinstance(card.matryoshka, str) else ", ".join(map(str, card.matryoshka))


def cells(card: ModelCard) -> tuple[str, ...]:
    return (
        f"`{card.id}`",
        card.architecture,
        card.pooling_type or "",
        size(card),
        matryoshka(card),
        f"{card.max_length}",
        f"{card.parameters:g}" if card.parameters else "",
        ", ".join(card.prompts) or (card.score_template or ""),
        card.licence,
        ", ".join(card.hazards),
        card.export,
    )


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def page() -> str:
    columns = ("model", "class", "pooling", "size or labels", "Matryoshka", "tokens", "million weights",
               "prompts or template", "licence", "hazards", "export")  # fmt: skip
    parts = [HEAD]
    for title, belongs in KINDS:
        found = [card for card in cards().values() if belongs(card)]
        parts.append(f"## {title} ({len(found)})\n\n{table(columns, [cells(card) for card in found])}")
    reasons = [(f"`{card.id}`", card.export, card.export_reason) for card in cards().values() if card.export_reason]
    parts.append("## Not native\n\n" + table(("model", "export", "reason"), reasons))
    parts.append(
        "## Hazards\n\n" + table(("name", "meaning"), [(f"`{name}`", words) for name, words in HAZARDS.items()])
    )
    return "\n".join(parts)


def test_every_card_has_its_row() -> None:
    text = page()
    assert [card for card in cards() if f"| `{card}` |" not in text] == []
    assert sum(belongs(card) for card in cards().values() for _, belongs in KINDS) == len(cards())


def test_the_page_is_fresh(checkout: Path, request: pytest.FixtureRequest) -> None:
    file = checkout / "docs" / "zoo.md"
    if request.config.getoption("--update-help"):
        file.write_text(page(), "utf-8")
    assert file.read_text("utf-8") == page(), "docs/zoo.md is stale; run `make docs`"
