"""`/v1/models` of a live server against the manifests of its bundles; the page is beside it at `/`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from pool_export.runtime.bundle import open_bundle


def test_details_are_the_manifests(live: Any, served_bundles: dict[str, Path]) -> None:
    answer = httpx.get(f"{live.url}/v1/models").json()["data"]
    assert [model["id"] for model in answer] == list(served_bundles)
    for model in answer:
        manifest = open_bundle(served_bundles[model["id"]]).manifest
        found, spec = model["details"], manifest.pooling
        assert found["pooling"] == list(spec.pooling)
        assert found["labels"] == list(spec.labels)
        assert (found["embedding_size"], found["num_labels"]) == (spec.embedding_size, spec.num_labels)
        assert found["matryoshka_dimensions"] == list(spec.matryoshka_dimensions)
        assert (found["source"], found["licence"]) == (manifest.source.id, manifest.source.licence)
        assert (found["similarity"], found["activation"]) == (manifest.similarity, spec.activation)
        assert (found["device"], found["precision"], found["threads"]) == ("cpu", "fp32", 1)
    assert answer[list(served_bundles).index("matryoshka")]["details"]["matryoshka_dimensions"] == [8, 16]


def test_page_is_at_the_root(live: Any) -> None:
    page = httpx.get(f"{live.url}/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert 'src="page/main.js"' in page.text
    tag = page.headers["etag"]
    assert httpx.get(f"{live.url}/", headers={"If-None-Match": tag}).status_code == 304
    assert httpx.head(f"{live.url}/page/style.css").headers["content-type"] == "text/css; charset=utf-8"
    for path in ("/page/", "/page/../config.py", "/page/none.js"):
        assert httpx.get(f"{live.url}{path}").status_code == 404
