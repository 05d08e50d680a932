"""The table of `make interop`, for the terminal and for docs/interop.md."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .consumers import BUNDLES, CELLS, CONSUMERS, KINDS, Kind

BEGIN = "<!-- made by `make interop`: do not edit to the end mark -->"
END = "<!-- end -->"

Results = Mapping[tuple[str, Kind], Mapping[str, Any]]


def load(folder: Path) -> dict[tuple[str, Kind], Mapping[str, Any]]:
    """Read what was found so far."""
    found = {}
    for name, kind in CELLS:
        path = folder / f"{name}-{kind}.json"
        if path.exists():
            found[name, kind] = json.loads(path.read_text("utf-8"))
    return found


def cell(results: Results, name: str, kind: Kind) -> str:
    """One verdict, with its worst figure."""
    reason = CONSUMERS[name].not_applicable.get(kind)
    if reason is not None:
        return f"not applicable: {reason}"
    result = results.get((name, kind))
    if result is None:
        return "not run"
    if result["failures"]:
        return f"FAILED: {result['failures'][0]}"
    figure = f"max-abs {result['max_abs']:.1e}" if kind != "embed" else f"cosine {result['min_cosine']:.7f}"
    but = ", longer texts apart" if CONSUMERS[name].cuts_otherwise else ""
    return f"ok, {figure}, {result['cases']} answers{but}"


def rows(results: Results) -> list[list[str]]:
    """The table's cells, a row a consumer; its release is the one that was run."""
    found = []
    for name, consumer in CONSUMERS.items():
        versions = {result["version"] for (asked, _), result in results.items() if asked == name}
        title = " ".join([consumer.title, *sorted(versions)])
        found.append([title, *(cell(results, name, kind) for kind in KINDS)])
    return found


def block(results: Results) -> str:
    """The generated part of the page.

    Raises:
        ValueError: a consumer was not run, or failed.
    """
    table = rows(results)
    missing = [row[0] for row in table if any(text.startswith(("not run", "FAILED")) for text in row)]
    if missing:
        raise ValueError(f"no verdict of {', '.join(missing)}: run the whole `make interop`")
    lines = [f"| consumer | {' | '.join(KINDS)} |", "|---" * (len(KINDS) + 1) + "|"]
    lines += [f"| {' | '.join(row)} |" for row in table]
    lines += ["", *(f"- **{kind}**: {text}." for kind, text in BUNDLES.items()), ""]
    for consumer in CONSUMERS.values():
        apart = f" Texts beyond the model's limit get other answers: {consumer.cuts_otherwise}."
        lines.append(f"- **{consumer.title}**: {consumer.asked}.{apart if consumer.cuts_otherwise else ''}")
    return "\n".join(lines)


def rewritten(page: str, results: Results) -> str:
    """Put the generated part into the page."""
    before, _, rest = page.partition(BEGIN)
    _, _, behind = rest.partition(END)
    return f"{before}{BEGIN}\n\n{block(results)}\n\n{END}{behind}"
