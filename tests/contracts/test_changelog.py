"""The changelog's newest entry is the version that is being built."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def test_top_entry_is_the_version(checkout: Path, pyproject: Mapping[str, Any]) -> None:
    text = (checkout / "CHANGELOG.md").read_text("utf-8")
    versions = re.findall(r"^## \[?v?(\d+\.\d+\.\d+\S*?)\]?(?:\s|$)", text, re.MULTILINE)
    assert versions, "CHANGELOG.md has no `## X.Y.Z` heading"
    assert versions[0] == pyproject["project"]["version"]
