from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pool_export.runtime.bundle import is_bundle, open_bundle, resolve_inside, sha256
from pool_export.runtime.config import RuntimeConfig
from pool_export.runtime.engine import Engine
from pool_export.runtime.errors import BundleError

REMEDY = "export the model again"
EditJson = Callable[[Path, Callable[[dict[str, Any]], object]], None]


def graph_file(folder: Path) -> Path:
    return folder / "onnx/model.onnx"


def set_graph_path(folder: Path, path: str, edit_json: EditJson) -> None:
    edit_json(folder / "pool_export.json", lambda it: it["graphs"]["fp32"]["files"][0].update(path=path))


def refused(folder: Path) -> str:
    """The one error that opening and loading a bundle raises."""
    with pytest.raises(BundleError) as caught:
        Engine(open_bundle(folder), RuntimeConfig(device="cpu"))
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --------------------------------------------------------------------------------------------- a good bundle


def test_a_bundle_opens_without_loading_its_graph(bert_copy: Path):
    bundle = open_bundle(bert_copy)
    assert bundle.name == bundle.manifest.source.id
    assert bundle.path("onnx/model.onnx") == graph_file(bert_copy)
    assert is_bundle(bert_copy)
    assert is_bundle(str(bert_copy))


def test_hashes_of_a_good_bundle_match(bert_copy: Path):
    assert open_bundle(bert_copy).verify_hashes() == ["onnx/model.onnx"]


def test_sha256_reads_in_chunks(tmp_path: Path):
    file = tmp_path / "x"
    file.write_bytes(b"abc")
    assert sha256(file) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    data = bytes(range(256)) * (3 << 12)  # three chunks
    file.write_bytes(data)
    assert sha256(file) == hashlib.sha256(data).hexdigest()


# ---------------------------------------------------------------------------------------------- no bundle


def test_a_folder_that_does_not_exist_says_how_to_make_one(tmp_path: Path):
    message = refused(tmp_path / "nowhere")
    assert f"{tmp_path / 'nowhere'} does not exist" in message
    assert "pool-export MODEL -o" in message
    assert not is_bundle(tmp_path / "nowhere")


def test_a_folder_without_a_manifest_says_how_to_make_one(tmp_path: Path):
    message = refused(tmp_path)
    assert f"{tmp_path} has no pool_export.json" in message
    assert f"pool-export MODEL -o {tmp_path}" in message
    assert not is_bundle(tmp_path)


def test_a_file_is_no_bundle(bert_copy: Path):
    message = refused(graph_file(bert_copy))
    assert str(graph_file(bert_copy)) in message
    assert "expected a bundle folder" in message


def test_a_manifest_that_is_a_folder_is_refused(tmp_path: Path):
    (tmp_path / "pool_export.json").mkdir()
    assert "pool_export.json cannot be read" in refused(tmp_path)


def test_a_damaged_manifest_is_named_by_its_path(bert_copy: Path):
    (bert_copy / "pool_export.json").write_bytes(b"{")
    assert f"{bert_copy / 'pool_export.json'} is not valid JSON" in refused(bert_copy)


# ------------------------------------------------------------------------------------------ damaged files


def test_a_truncated_graph_is_found_by_its_size(bert_copy: Path):
    file = graph_file(bert_copy)
    size = file.stat().st_size
    os.truncate(file, size - 1)
    message = refused(bert_copy)
    assert f"{file} has {size - 1} bytes, the manifest says {size}" in message
    assert REMEDY in message


def test_a_missing_graph_is_named(bert_copy: Path):
    graph_file(bert_copy).unlink()
    message = refused(bert_copy)
    assert f"{graph_file(bert_copy)} is missing" in message
    assert REMEDY in message


def test_missing_external_data_is_named(bert_copy: Path, edit_json: EditJson):
    extra = {"path": "onnx/model.onnx_data", "size": 5, "sha256": ""}
    edit_json(bert_copy / "pool_export.json", lambda it: it["graphs"]["fp32"]["files"].append(extra))
    assert "model.onnx_data is missing" in refused(bert_copy)


def test_a_missing_tokenizer_is_named(bert_copy: Path):
    (bert_copy / "tokenizer.json").unlink()
    message = refused(bert_copy)
    assert f"{bert_copy / 'tokenizer.json'} is missing" in message
    assert REMEDY in message


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff\xfe", b'{"version": "1.0", "model": {"type": "Odd"}}'])
def test_a_damaged_tokenizer_is_named(bert_copy: Path, content: bytes):
    (bert_copy / "tokenizer.json").write_bytes(content)
    message = refused(bert_copy)
    assert f"{bert_copy / 'tokenizer.json'} cannot be read" in message
    assert REMEDY in message


def test_a_changed_graph_of_the_same_size_fails_its_hash(bert_copy: Path):
    file = graph_file(bert_copy)
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(BundleError, match=r"onnx/model.onnx: sha256 is \w{12}…, the manifest says \w{12}…") as caught:
        open_bundle(bert_copy).verify_hashes()
    assert REMEDY in str(caught.value)


@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.99])
def test_a_graph_truncated_under_its_size_is_one_clear_error(bert_copy: Path, kept: float, capfd):
    file = graph_file(bert_copy)
    data = file.read_bytes()
    whole = int(len(data) * kept)
    file.write_bytes(data[:whole] + bytes(len(data) - whole))
    message = refused(bert_copy)
    assert f"{file} cannot be loaded" in message
    assert f"truncated or damaged, {REMEDY}" in message
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", ["inputs", "outputs"])
def test_a_graph_that_is_not_the_manifests_is_refused(bert_copy: Path, kind: str, edit_json: EditJson):
    edit_json(bert_copy / "pool_export.json", lambda it: it["graphs"]["fp32"][kind][0].update(name="other"))
    message = refused(bert_copy)
    assert f"{graph_file(bert_copy)} has {kind} " in message
    assert "the manifest says other, " in message
    assert REMEDY in message


# ------------------------------------------------------------------------------------- paths that lead out


@pytest.mark.parametrize(
    "path",
    [
        "../outside.onnx",
        "onnx/../../outside.onnx",
        "/etc/hostname",
        "onnx\\model.onnx",
        "..\\outside",
        "",
        "a\0b",
        "..",
    ],
)
def test_a_path_out_of_the_bundle_is_refused(bert_copy: Path, path: str, edit_json: EditJson):
    (bert_copy.parent / "outside.onnx").write_bytes(b"not yours")
    set_graph_path(bert_copy, path, edit_json)
    message = refused(bert_copy)
    assert f"{bert_copy / 'pool_export.json'} names {path!r}, which lies outside the bundle" in message
    assert REMEDY in message


@pytest.mark.parametrize("path", ["onnx/../onnx/model.onnx", "{bundle}/onnx/model.onnx"])
def test_a_detour_is_refused_though_it_ends_inside(bert_copy: Path, path: str, edit_json: EditJson):
    set_graph_path(bert_copy, path.format(bundle=bert_copy), edit_json)
    assert "which lies outside the bundle" in refused(bert_copy)


def test_a_link_out_of_the_bundle_is_refused(bert_copy: Path):
    secret = bert_copy.parent / "secret"
    shutil.move(graph_file(bert_copy), secret)
    graph_file(bert_copy).symlink_to(secret)
    assert "'onnx/model.onnx', which lies outside the bundle" in refused(bert_copy)


def test_a_linked_tokenizer_out_of_the_bundle_is_refused(bert_copy: Path):
    secret = bert_copy.parent / "secret"
    shutil.move(bert_copy / "tokenizer.json", secret)
    (bert_copy / "tokenizer.json").symlink_to(secret)
    assert "'tokenizer.json', which lies outside the bundle" in refused(bert_copy)


def test_a_linked_folder_out_of_the_bundle_is_refused(bert_copy: Path):
    shutil.move(bert_copy / "onnx", bert_copy.parent / "elsewhere")
    (bert_copy / "onnx").symlink_to(bert_copy.parent / "elsewhere", target_is_directory=True)
    assert "which lies outside the bundle" in refused(bert_copy)


def test_a_loop_of_links_is_refused(bert_copy: Path):
    graph_file(bert_copy).unlink()
    graph_file(bert_copy).symlink_to("other.onnx")
    (bert_copy / "onnx/other.onnx").symlink_to("model.onnx")
    assert "onnx/model.onnx" in refused(bert_copy)


def test_a_link_inside_the_bundle_is_followed(bert_copy: Path):
    shutil.move(graph_file(bert_copy), bert_copy / "onnx/real.onnx")
    graph_file(bert_copy).symlink_to("real.onnx")
    assert open_bundle(bert_copy).verify_hashes() == ["onnx/model.onnx"]


def test_the_bundle_itself_may_be_reached_by_a_link(bert_copy: Path):
    link = bert_copy.parent / "link"
    link.symlink_to(bert_copy, target_is_directory=True)
    assert open_bundle(link).verify_hashes() == ["onnx/model.onnx"]


@pytest.mark.parametrize("below", ["", "bundles/fp32"])
def test_a_hub_cache_links_into_its_blobs(bert_copy: Path, tmp_path: Path, below: str):
    """models--a--b/snapshots/REVISION/file -> ../../blobs/HASH, as huggingface_hub lays it out."""
    repository = tmp_path / "models--acme--fake"
    snapshot = repository / "snapshots/0123abc" / below
    blobs = repository / "blobs"
    blobs.mkdir(parents=True)
    for number, file in enumerate(sorted(path for path in bert_copy.rglob("*") if path.is_file())):
        link = snapshot / file.relative_to(bert_copy)
        link.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, blobs / str(number))
        link.symlink_to(os.path.relpath(blobs / str(number), link.parent))
    engine = Engine(open_bundle(snapshot), RuntimeConfig(device="cpu"))
    assert engine.session.device == "cpu"


def test_a_hub_cache_may_not_link_anywhere_else(bert_copy: Path, tmp_path: Path):
    snapshot = tmp_path / "models--acme--fake/snapshots/0123abc"
    shutil.copytree(bert_copy, snapshot)
    graph_file(snapshot).unlink()
    graph_file(snapshot).symlink_to(graph_file(bert_copy))
    assert "which lies outside the bundle" in refused(snapshot)


def test_a_path_inside_is_joined_and_need_not_exist(tmp_path: Path):
    assert resolve_inside(tmp_path, "tensorrt/cache.bin") == tmp_path / "tensorrt/cache.bin"


def protobuf(*fields: tuple[int, int | str | bytes]) -> bytes:
    """Serialise (number, value) fields: numbers below 128 as varints, the rest by length."""
    out = b""
    for number, value in fields:
        data = value.encode() if isinstance(value, str) else value
        if isinstance(data, int):
            out += bytes([number << 3, data])
        else:
            size = bytes([len(data)]) if len(data) < 128 else bytes([len(data) & 127 | 128, len(data) >> 7])
            out += bytes([number << 3 | 2]) + size + data
    return out


def adds_external_data(location: str) -> bytes:
    """An ONNX model `y = x + w`, whose `w` is 16 bytes of another file."""
    shape = protobuf((1, 1), (2, protobuf((1, protobuf((1, 4))))))
    stated = [protobuf((1, key), (2, value)) for key, value in (("location", location), ("length", "16"))]
    w = protobuf((1, 4), (2, 1), (8, "w"), *((13, entry) for entry in stated), (14, 1))
    node = protobuf((1, "x"), (1, "w"), (2, "y"), (4, "Add"))
    x, y = (protobuf((1, name), (2, protobuf((1, shape)))) for name in "xy")
    graph = protobuf((1, node), (2, "g"), (5, w), (11, x), (12, y))
    return protobuf((1, 10), (7, graph), (8, protobuf((1, ""), (2, 20))))


@pytest.mark.parametrize("location", ["../secret.bin", "LINK"])
def test_external_data_outside_the_bundle_is_refused(bert_copy: Path, location: str, edit_json: EditJson):
    """The location is in the ONNX file, where the manifest's checks do not look: onnxruntime refuses it."""
    (bert_copy.parent / "secret.bin").write_bytes(bytes(16))
    (bert_copy / "onnx/LINK").symlink_to("../../secret.bin")
    data = adds_external_data(location)
    graph_file(bert_copy).write_bytes(data)
    edit_json(bert_copy / "pool_export.json", lambda it: it["graphs"]["fp32"]["files"][0].update(size=len(data)))
    message = refused(bert_copy)
    assert "External data path" in message
    assert REMEDY in message


def test_external_data_inside_the_bundle_is_read(bert_copy: Path, edit_json: EditJson):
    """The counterpart of the test above: the model is refused for its interface, so its data was read."""
    (bert_copy / "onnx/w.bin").write_bytes(bytes(16))
    data = adds_external_data("w.bin")
    graph_file(bert_copy).write_bytes(data)
    edit_json(bert_copy / "pool_export.json", lambda it: it["graphs"]["fp32"]["files"][0].update(size=len(data)))
    assert "has inputs x, the manifest says input_ids" in refused(bert_copy)
