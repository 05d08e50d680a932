"""examples/hosts/node: every kind of bundle replays in Node, and what the host computes is what `LLM` answers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pool_export.runtime.llm import LLM
from pool_export.runtime.params import PoolingParams

from .programs import SPOILT, TINY, GetBundle, npm_packages, run, succeed, tool

pytestmark = [pytest.mark.interop, pytest.mark.torch]

QUERY, DOCUMENTS = "how do plants make food", ["Leaves turn light into sugar.", "The ferry leaves at nine.", ""]


@pytest.fixture(scope="session")
def node(checkout: Path) -> list[str]:
    """Return the command up to its arguments."""
    folder = npm_packages(checkout / "examples" / "hosts" / "node")
    return [tool("node", "apt-get install nodejs (20 or newer)"), str(folder / "main.mjs")]


def rows(printed: str) -> list[Any]:
    return [json.loads(line) for line in printed.splitlines()]


@pytest.mark.parametrize("name", ["minilm", *sorted({*TINY} - {"unigram-cross-encoder"})])
def test_golden_replays(name: str, node: list[str], bundle_of: GetBundle) -> None:
    bundle = bundle_of(name)
    golden = json.loads((bundle / "golden.json").read_text("utf-8"))
    pairs = sum(case["pair"] is not None for case in golden["cases"])
    verdict = succeed([*node, "replay", bundle]).strip()
    assert verdict.startswith(f"passed: {len(golden['cases'])} cases, {pairs} pairs,")


def test_an_int8_graph_replays_within_its_own_tolerance(node: list[str], bundle_of: GetBundle) -> None:
    bundle = bundle_of("minilm-int8")
    assert succeed([*node, "replay", bundle, "--precision", "int8"]).startswith("passed: ")
    (quantised,), (exact,) = (
        rows(succeed([*node, "embed", bundle, QUERY, "--precision", name])) for name in ("int8", "fp32")
    )
    assert 0.98 < np.dot(quantised, exact) < 0.99999


def test_the_one_known_difference(node: list[str], bundle_of: GetBundle) -> None:
    """JavaScript's white space holds U+FEFF, Rust's does not: a tokenizer that splits on white space differs there."""
    bundle = bundle_of("unigram-cross-encoder")
    cases = json.loads((bundle / "golden.json").read_text("utf-8"))["cases"]
    done = run([*node, "replay", bundle])
    differ = [cases[int(line.split()[1])]["text"] for line in done.stderr.splitlines()]
    assert differ == [case["text"] for case in cases if "\ufeff" in case["text"]] != []
    assert "token ids differ" in done.stderr


@pytest.mark.parametrize("kind", SPOILT)
def test_a_difference_is_an_exit_code(kind: str, node: list[str], spoilt: Callable[..., Path]) -> None:
    change, said = SPOILT[kind]
    done = run([*node, "replay", spoilt("minilm", change)])
    assert done.returncode == 1
    assert re.match(rf"case 0 \S+: .*{said}", done.stderr)
    assert done.stdout.startswith("FAILED")


def test_embed_is_what_llm_answers(node: list[str], bundle_of: GetBundle) -> None:
    bundle = bundle_of("minilm")
    found = rows(succeed([*node, "embed", bundle, *DOCUMENTS]))
    want = [output.outputs.embedding for output in LLM(str(bundle)).embed(DOCUMENTS)]
    np.testing.assert_allclose(found, want, atol=1e-5)


def test_matryoshka_is_cut_and_normalised_again(node: list[str], bundle_of: GetBundle) -> None:
    bundle = bundle_of("matryoshka")
    found = rows(succeed([*node, "embed", bundle, QUERY, "--dimensions", "8"]))
    (want,) = LLM(str(bundle)).embed(QUERY, pooling_params=PoolingParams(dimensions=8))
    np.testing.assert_allclose(found[0], want.outputs.embedding, atol=1e-5)
    assert np.linalg.norm(found[0]) == pytest.approx(1)
    refused = run([*node, "embed", bundle, QUERY, "--dimensions", "9"])
    assert (refused.returncode, refused.stderr) == (
        1, "error: the model was not trained for 9 dimensions, but for 8, 16, 32\n")  # fmt: skip


@pytest.mark.parametrize("name", ["minilm", "cross-encoder", "unigram-cross-encoder"])
def test_score_is_what_llm_answers(name: str, node: list[str], bundle_of: GetBundle) -> None:
    bundle = bundle_of(name)
    printed = succeed([*node, "score", bundle, QUERY, *DOCUMENTS]).splitlines()
    want = [output.outputs.score for output in LLM(str(bundle)).score(QUERY, DOCUMENTS)]
    np.testing.assert_allclose([float(line.split("\t")[0]) for line in printed], want, atol=1e-5)


def test_classify_is_what_llm_answers(node: list[str], bundle_of: GetBundle) -> None:
    bundle = bundle_of("classifier")
    found = rows(succeed([*node, "classify", bundle, QUERY]))
    llm = LLM(str(bundle))
    (want,) = llm.classify(QUERY)
    np.testing.assert_allclose(found[0]["probs"], want.outputs.probs, atol=1e-5)
    labels = json.loads((bundle / "pool_export.json").read_text("utf-8"))["pooling"]["labels"]
    assert found[0]["label"] == labels[int(np.argmax(want.outputs.probs))]


def test_over_long_text_is_refused_or_cut(node: list[str], bundle_of: GetBundle) -> None:
    bundle, long = bundle_of("minilm"), "word " * 2000
    refused = run([*node, "embed", bundle, long])
    assert refused.returncode == 1
    assert "tokens; the model takes" in refused.stderr
    (found,) = rows(succeed([*node, "embed", bundle, long, "--truncate"]))
    (want,) = LLM(str(bundle)).embed(long, truncate_prompt_tokens=-1)
    np.testing.assert_allclose(found, want.outputs.embedding, atol=1e-5)


def test_the_snippets_of_the_page_run(node: list[str], bundle_of: GetBundle, checkout: Path, tmp_path: Path) -> None:
    page = (checkout / "docs" / "hosts.md").read_text("utf-8")
    snippets = re.findall(r"(?<!-->\n)^```js\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(snippets) == 2
    for name in ("node_modules", "bundle.mjs", "open.mjs"):
        (tmp_path / name).symlink_to(checkout / "examples" / "hosts" / "node" / name)
    (tmp_path / "bundle").symlink_to(bundle_of("minilm"))
    printed = []
    for number, snippet in enumerate(snippets):
        (tmp_path / f"snippet{number}.mjs").write_text(snippet, "utf-8")
        # In that folder, because the snippets name "./bundle".
        printed.append(succeed(["env", "--chdir", tmp_path, node[0], f"snippet{number}.mjs"]))
    assert printed[0].startswith("384\n[")
    assert "[ 1, 384 ]" in printed[1]


@pytest.mark.parametrize("pair", [("word " * 300, "short"), ("short", "word " * 300), ("one " * 90, "other " * 101)])
def test_the_longer_text_of_a_pair_is_cut(pair: tuple[str, str], node: list[str], bundle_of: GetBundle) -> None:
    bundle = bundle_of("cross-encoder")
    assert run([*node, "score", bundle, *pair]).returncode == 1
    printed = succeed([*node, "score", bundle, *pair, "--truncate"])
    (want,) = LLM(str(bundle)).score(*pair, truncate_prompt_tokens=-1)
    assert float(printed.split("\t")[0]) == pytest.approx(want.outputs.score, abs=1e-5)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "node main.mjs embed"),
        (["embed", "BUNDLE"], 2, "node main.mjs embed"),
        (["classify", "BUNDLE", "x"], 1, "error: this needs probs of a whole text; the graph has sentence_embedding"),
        (["embed", "BUNDLE", "x", "--prompt", "nope"], 1, "error: no prompt nope"),
        (["embed", "BUNDLE", "x", "--precision", "fp64"], 1, "error: no fp64 graph; the bundle has fp32"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], code: int, said: str, node: list[str], bundle_of: GetBundle
) -> None:  # fmt: skip
    bundle = bundle_of("minilm")
    done = run([*node, *(str(bundle) if word == "BUNDLE" else word for word in arguments)])
    assert done.returncode == code
    assert said in done.stderr
