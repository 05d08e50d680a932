"""examples/hosts/c: built with gcc, every kind of bundle replays, and ragged batches are what `LLM` answers."""

from __future__ import annotations

import json
import os
import shutil
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from filelock import FileLock

from pool_export.runtime.llm import LLM
from pool_export.runtime.params import PoolingParams

from .programs import SPOILT, TINY, GetBundle, run, succeed, tool

pytestmark = pytest.mark.interop

TEXTS = ["A short one.", "", "Leaves turn light, water and air into sugar, and the ferry leaves at nine."]
SANITIZED = "-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all"


@pytest.fixture(scope="session")
def ort(checkout: Path) -> Path:
    """Return a folder with onnxruntime's C header and the library of the installed wheel, as a release archive has."""
    folder = checkout / "build" / "hosts" / "onnxruntime"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(str(folder) + ".lock"):
        (library,) = Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so.*")
        (folder / "lib").mkdir(exist_ok=True)
        for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
            (folder / "lib" / name).unlink(missing_ok=True)
            (folder / "lib" / name).symlink_to(library)
        if not (folder / "include" / "onnxruntime_c_api.h").is_file():
            shutil.copytree(_header_folder(folder), folder / "include", dirs_exist_ok=True)
    return folder


def _header_folder(build: Path) -> Path:
    for found in (Path(os.environ.get("ONNXRUNTIME_INCLUDE", "/nowhere")), Path("/usr/include/onnxruntime")):
        if (found / "onnxruntime_c_api.h").is_file():
            return found
    return _debian_header(build)


def _debian_header(build: Path) -> Path:
    """Take the header out of Debian 13's package, whatever Debian this is; nothing is installed, no list is changed."""
    apt = tool(
        "apt-get", "this is no Debian: set ONNXRUNTIME_INCLUDE to the folder of onnxruntime_c_api.h (a release archive)"
    )
    for name in ("lists/partial", "cache/archives/partial"):
        (build / name).mkdir(parents=True, exist_ok=True)
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    source = f"deb [signed-by={keyring}] http://deb.debian.org/debian trixie main\n"
    (build / "sources.list").write_text(source, "utf-8")
    own = {"Dir::Etc::sourcelist": build / "sources.list", "Dir::Etc::sourceparts": "/dev/null",
           "Dir::State::lists": build / "lists", "Dir::Cache": build / "cache"}  # fmt: skip
    options = [word for key, value in own.items() for word in ("-o", f"{key}={value}")]
    succeed([apt, *options, "update"])
    succeed(["sh", "-c", 'cd "$0" && exec "$@"', build, apt, *options, "download", "libonnxruntime-dev"])
    (package,) = build.glob("libonnxruntime-dev_*.deb")
    succeed([tool("dpkg-deb", "apt-get install dpkg"), "-x", package, build / "package"])
    return build / "package" / "usr" / "include" / "onnxruntime"


@pytest.fixture(scope="session")
def build(checkout: Path, ort: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return `build(flags)`: the program, compiled with these flags."""
    source = checkout / "examples" / "hosts" / "c"

    def program(flags: str = "-O2") -> Path:
        if not Path("/usr/include/cjson/cJSON.h").is_file():
            pytest.fail("the C example reads JSON with cJSON, which is not here: apt-get install libcjson-dev")
        tool("cc", "apt-get install gcc")
        target = tmp_path_factory.mktemp("c")
        make = tool("make", "apt-get install make")
        succeed([make, "-C", source, f"ORT={ort}", f"BUILD={target}"], CFLAGS=flags, LDFLAGS=flags)
        return target / "pool_host"

    return program


@pytest.fixture(scope="session")
def host(build: Callable[..., Path]) -> Path:
    """Return the program."""
    return build()


def lines(encoded: Sequence[tuple[list[int], list[int] | None]]) -> str:
    """Token ids, and segment ids after a bar, as the program reads them."""
    return "".join(
        " ".join(map(str, ids)) + ("" if types is None else " | " + " ".join(map(str, types))) + "\n"
        for ids, types in encoded
    )


@pytest.mark.parametrize("name", ["minilm", *TINY])
def test_golden_replays(name: str, host: Path, bundle_of: GetBundle) -> None:
    cases = json.loads((bundle_of(name) / "golden.json").read_text("utf-8"))["cases"]
    assert succeed([host, "replay", bundle_of(name)]).startswith(f"passed: {len(cases)} cases,")


@pytest.mark.parametrize("kind", sorted(set(SPOILT) - {"ids"}))
def test_a_difference_is_an_exit_code(kind: str, host: Path, spoilt: Callable[..., Path]) -> None:
    change, said = SPOILT[kind]
    done = run([host, "replay", spoilt("cross-encoder", change)])
    assert done.returncode == 1
    assert done.stdout.startswith("FAILED: ")
    assert done.stderr.startswith("case 0: ")
    assert said in done.stderr


def test_sanitizers_find_nothing(build: Callable[..., Path], bundle_of: GetBundle, tmp_path: Path) -> None:
    program = build(SANITIZED)
    # onnxruntime keeps a few objects until the process ends.
    quiet = {"ASAN_OPTIONS": "detect_leaks=0"}
    bundle = bundle_of("cross-encoder")
    succeed([program, "replay", bundle], **quiet)
    succeed([program, "run", bundle, "probs"], stdin=lines([([2, 7, 3], [0, 0, 0]), ([2, 3], None)]), **quiet)
    for wrong in ("1 2 | 0\n", "x\n", "\n", "1 " * 9000, "-1\n", "99999999999999999999\n"):
        assert run([program, "run", bundle, "probs"], stdin=wrong, **quiet).returncode == 1
    (tmp_path / "golden.json").write_text('{"format": 1, "cases": [{"outputs": {"probs": {}}}]}')
    (tmp_path / "onnx").symlink_to(bundle / "onnx")
    assert run([program, "replay", tmp_path], **quiet).returncode == 1


def test_a_ragged_batch_is_what_llm_answers(host: Path, bundle_of: GetBundle) -> None:
    bundle = bundle_of("minilm")
    want = LLM(str(bundle)).embed(TEXTS)
    encoded = [(output.prompt_token_ids, None) for output in want]
    found = [
        json.loads(line)
        for line in succeed([host, "run", bundle, "sentence_embedding"], stdin=lines(encoded)).splitlines()
    ]
    np.testing.assert_allclose(found, [output.outputs.embedding for output in want], atol=1e-5)


def test_pairs_are_what_llm_answers(host: Path, bundle_of: GetBundle) -> None:
    bundle = bundle_of("cross-encoder")
    llm = LLM(str(bundle))
    want = llm.score(TEXTS[0], TEXTS)
    separator = want[0].prompt_token_ids[-1]
    encoded = []
    for output in want:
        ids = output.prompt_token_ids
        first = ids.index(separator) + 1
        encoded.append((ids, [0] * first + [1] * (len(ids) - first)))
    found = [json.loads(line)[0] for line in succeed([host, "run", bundle, "probs"], stdin=lines(encoded)).splitlines()]
    np.testing.assert_allclose(found, [output.outputs.score for output in want], atol=1e-5)


def test_matryoshka_is_cut_and_normalised_again(host: Path, bundle_of: GetBundle) -> None:
    bundle = bundle_of("matryoshka")
    (want,) = LLM(str(bundle)).embed(TEXTS[0], pooling_params=PoolingParams(dimensions=8))
    stdin = lines([(want.prompt_token_ids, None)])
    found = json.loads(succeed([host, "run", bundle, "sentence_embedding", "8"], stdin=stdin))
    np.testing.assert_allclose(found, want.outputs.embedding, atol=1e-5)
    assert run([host, "run", bundle, "sentence_embedding", "99"], stdin=stdin).returncode == 1


def test_token_rows_come_without_padding(host: Path, bundle_of: GetBundle) -> None:
    printed = succeed([host, "run", bundle_of("reward"), "rewards"], stdin="3 4 5 6 7\n8 9\n")
    assert [len(json.loads(line)) for line in printed.splitlines()] == [5, 2]


def test_text_goes_through_the_text_graph(host: Path, tiny_bundle: Callable[..., Path]) -> None:
    pytest.importorskip("pool_export.export.text_input", reason="this version writes no text graph")
    extensions = pytest.importorskip("onnxruntime_extensions").get_library_path()
    bundle = tiny_bundle("bert", "base", export={"text_input": True})
    cases = json.loads((bundle / "golden.json").read_text("utf-8"))["cases"]
    # The program reads a text a line, and a C string ends at NUL.
    cases = [case for case in cases if not {"\n", "\0", "\r"} & set(case["text"])]
    assert len(cases) >= 24
    # The wheel's library is one of Python's modules; outside Python somebody has to load Python for it.
    python = Path(sysconfig.get_config_var("LIBDIR")) / str(sysconfig.get_config_var("LDLIBRARY"))
    if python.suffix != ".so":
        pytest.fail(f"this Python has no shared library ({python}); run the tests with one that has")
    printed = succeed(
        [host, "text", bundle, "sentence_embedding", extensions],
        stdin="".join(f"{case['text']}\n" for case in cases),
        LD_PRELOAD=str(python),
    )
    found = [json.loads(line) for line in printed.splitlines()]
    np.testing.assert_allclose(found, [case["outputs"]["sentence_embedding"] for case in cases], atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "pool_host replay BUNDLE"),
        (["run", "BUNDLE", "probs", "0"], 2, "pool_host replay BUNDLE"),
        (["run", "BUNDLE", "nope"], 1, "error: the graph has no output nope"),
        (["replay", "nowhere"], 1, "error: "),
    ],
)
def test_bad_input_is_said(arguments: list[str], code: int, said: str, host: Path, bundle_of: GetBundle) -> None:
    bundle = bundle_of("cross-encoder")
    done = run([host, *(str(bundle) if word == "BUNDLE" else word for word in arguments)])
    assert done.returncode == code
    assert said in done.stderr


def test_the_header_is_cpp_too(checkout: Path) -> None:
    header = checkout / "examples" / "hosts" / "c" / "graph.h"
    succeed(
        [tool("c++", "apt-get install g++"), "-std=c++17", "-Wall", "-Werror", "-fsyntax-only", "-x", "c++", header]
    )
