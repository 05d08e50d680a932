from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pool_export import LLM
from pool_export.poolers.spec import SIMILARITIES
from pool_export.runtime.errors import BundleError
from pool_export.runtime.similarity import SIMILARITY_FUNCTIONS

LEFT, RIGHT = np.array([3.0, 4.0], np.float32), np.array([6.0, 0.0], np.float32)


def test_every_name_has_a_function():
    assert set(SIMILARITY_FUNCTIONS) == set(SIMILARITIES)


@pytest.mark.parametrize(("name", "value"), [("cosine", 0.6), ("dot", 18.0), ("euclidean", -5.0), ("manhattan", -7.0)])
def test_by_hand(name: str, value: float):
    assert SIMILARITY_FUNCTIONS[name](LEFT, RIGHT) == pytest.approx(value)


def named(llm: LLM, name: str, edit_json) -> LLM:
    folder = Path(llm.engine.bundle.folder)
    edit_json(folder / "pool_export.json", lambda manifest: manifest.update(similarity=name))
    return LLM(folder)


@pytest.mark.parametrize("name", SIMILARITIES)
def test_score_compares_as_the_bundle_says(fake_llm, edit_json, name: str):
    llm = named(fake_llm("embed", use_activation=False), name, edit_json)
    left, right = (item.outputs.data for item in llm.embed(["one two", "three"]))
    (found,) = llm.score("one two", "three")
    assert found.outputs.score == pytest.approx(SIMILARITY_FUNCTIONS[name](left, right))


def test_a_similarity_of_a_later_version_is_refused_by_name(fake_llm, edit_json):
    llm = named(fake_llm("embed"), "hamming", edit_json)
    with pytest.raises(BundleError, match="names the similarity 'hamming'; expected one of: cosine, dot"):
        llm.score("one", "two")


def test_the_manifest_keeps_the_name(fake_bundle):
    assert json.loads((fake_bundle() / "pool_export.json").read_text())["similarity"] == "cosine"
