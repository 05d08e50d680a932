"""No file of the project names a path of the machine it was written on."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

# spelled in pieces, so that this file does not find itself
MACHINE_PATH = re.compile(r"(?<![\w.~/-])/" + r"(?:work|root|home/\w+|opt/\w+|tmp/bash_jobs[\w.]*)/" + r"[\w.]")


def texts(checkout: Path) -> dict[str, str]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=checkout, check=True, capture_output=True, text=True,
    ).stdout.split("\0")  # fmt: skip
    found = {}
    for name in filter(None, listed):
        path = checkout / name
        if path.is_file() and not path.is_symlink() and b"\0" not in (data := path.read_bytes())[:8192]:
            found[name] = data.decode("utf-8", errors="replace")
    return found


def test_no_file_names_a_path_of_a_machine(checkout: Path) -> None:
    leaks = [
        f"{name}:{number}: {line.strip()}"
        for name, text in texts(checkout).items()
        for number, line in enumerate(text.splitlines(), start=1)
        if MACHINE_PATH.search(line)
    ]
    assert leaks == []


def test_the_pattern_finds_what_it_should() -> None:
    assert MACHINE_PATH.search("see /" + "work/main/x.py")
    assert not MACHINE_PATH.search("the frame/work/flow of a host")
