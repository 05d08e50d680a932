"""docs/parity.md out of the figures of a whole run (`make parity`)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .compare import BAR, REFUSED, SAME
from .table import cases, expected, known

Figures = Mapping[str, Any]

HEAD = """# The same numbers as vLLM

Written by `make parity`; do not edit. Each row is a tiny checkpoint with random weights, opened by vLLM {version}
on a CPU (`dtype="float32"`, `enforce_eager=True`) and by this project, and asked the same: {requests} requests in
{cases} rows. The texts, token ids and pairs are those of `tests/parity/questions.py`; a request holds up to {texts} of
them.

- {same} requests were answered by both with the same tokens, and no number differs by more than {bar:.0e}; the largest
  difference is {gap:.1e}.
- {refused} requests were refused by both, as they must be.
- {known} requests differ, each for a written reason ([below](#known-differences)).

The columns are the largest differences found, by request; "refused" counts what both refuse. An empty `differs` is the
rule.

| row | requests | max-abs | refused | differs |
|---|---|---|---|---|
"""


def load(folder: Path) -> dict[str, Figures]:
    """Read the figures of every row.

    Raises:
        ValueError: rows have not been run, so there is nothing to say about them.
    """
    missing = [name for name in cases() if not (folder / f"{name}.json").exists()]
    if missing:
        raise ValueError(f"no figures of {len(missing)} rows ({', '.join(missing[:5])} …): run the whole `make parity`")
    return {name: json.loads((folder / f"{name}.json").read_text("utf-8")) for name in cases()}


def _row(name: str, figures: Figures) -> str:
    requests: Mapping[str, Any] = figures["requests"]
    gaps = [outcome["gap"] for outcome in requests.values() if outcome["kind"] == SAME]
    refused = sum(outcome["kind"] == REFUSED for outcome in requests.values())
    differs = sorted(request for request, outcome in requests.items() if outcome["kind"] not in (SAME, REFUSED))
    shown = f"{max(gaps):.1e}" if gaps else "–"
    return f"| {name} | {len(requests)} | {shown} | {refused or ''} | {', '.join(differs)} |"


def _differences(rows: Mapping[str, Figures]) -> Iterator[str]:
    for line in known():
        met = [
            (name, request, outcome)
            for name, figures in rows.items()
            for request, outcome in figures["requests"].items()
            if outcome["kind"] not in (SAME, REFUSED) and expected(name, request) is line
        ]
        names = sorted({name for name, _, _ in met})
        gaps = [outcome["gap"] for _, _, outcome in met if outcome.get("gap") is not None]
        how = line.kind + (f", by up to {max(gaps):.2g}" if gaps else "")
        asked = ", ".join(sorted({request for _, request, _ in met}))
        yield f"- **{', '.join(names)}** ({asked}): {how}. Right: {line.right}. {line.reason}"


def page(rows: Mapping[str, Figures]) -> str:
    """Return the whole page."""
    from .questions import TEXTS

    every = [outcome for figures in rows.values() for outcome in figures["requests"].values()]
    same = [outcome["gap"] for outcome in every if outcome["kind"] == SAME]
    refused = sum(outcome["kind"] == REFUSED for outcome in every)
    head = HEAD.format(
        version=next(iter(rows.values()))["vllm"],
        cases=len(rows),
        requests=len(every),
        texts=len(TEXTS),
        same=len(same),
        bar=BAR,
        gap=max(same),
        refused=refused,
        known=len(every) - len(same) - refused,
    )
    lines = [_row(name, figures) for name, figures in rows.items()]
    tail = "\n## Known differences\n\nWhat vLLM 0.32 answers otherwise, and who has it right.\n\n"
    return head + "\n".join(lines) + "\n" + tail + "\n".join(_differences(rows)) + "\n"
