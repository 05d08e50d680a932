"""Open a bundle folder: check its manifest, its files, and that no path leaves the folder."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from .errors import BundleError
from .manifest import MANIFEST_NAME, FileInfo, Manifest, decode_manifest

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: its folder, its checked manifest, and the name it is served under, if it is."""

    folder: Path
    manifest: Manifest
    alias: str = ""

    @property
    def name(self) -> str:
        """The name shown in messages: the alias, else the source id."""
        return self.alias or self.manifest.source.id

    def path(self, relative: str) -> Path:
        """Resolve a path inside the bundle.

        Raises:
            BundleError: the path would leave the bundle.
        """
        return resolve_inside(self.folder, relative)

    def verify_hashes(self) -> list[str]:
        """Hash every listed graph file; return the paths that match.

        Raises:
            BundleError: a file differs from what the manifest recorded.
        """
        checked = []
        for info in self.manifest.files():
            found = sha256(self.path(info.path))
            if found != info.sha256:
                raise BundleError(
                    f"{info.path}: sha256 is {found[:12]}…, the manifest says {info.sha256[:12]}…; "
                    "the file was changed or damaged, export the model again"
                )
            checked.append(info.path)
        return checked


def is_bundle(folder: str | Path) -> bool:
    """Whether a folder claims to be a bundle (has a manifest)."""
    return (Path(folder) / MANIFEST_NAME).is_file()


def open_bundle(folder: str | Path) -> Bundle:
    """Read and check a bundle without loading its graph.

    Raises:
        BundleError: no manifest, a damaged or newer one, a listed file that is missing, has
            another size than recorded, or lies outside the folder.
    """
    root = Path(folder)
    path = root / MANIFEST_NAME
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        kind = "has no " + MANIFEST_NAME if root.is_dir() else "does not exist"
        raise BundleError(f"{root} {kind}; expected a bundle, make one with: pool-export MODEL -o {root}") from None
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror}); expected a bundle folder") from error
    manifest = decode_manifest(data, str(path))
    bundle = Bundle(root, manifest)
    for info in manifest.files():
        _check_file(bundle.path(info.path), info)
    _check_file(bundle.path("tokenizer.json"), None)
    return bundle


def resolve_inside(folder: Path, relative: str) -> Path:
    """Join a manifest path to the folder, refusing absolute paths, ``..`` and links that lead out.

    Raises:
        BundleError: the path leaves the folder.
    """
    pure = PurePosixPath(relative)
    target = folder / pure
    escapes = not relative or pure.is_absolute() or ".." in pure.parts or "\\" in relative or "\0" in relative
    if escapes or not _is_within(target, folder):
        raise BundleError(
            f"{folder / MANIFEST_NAME} names {relative!r}, which lies outside the bundle; refusing to open it, "
            "export the model again"
        )
    return target


def _is_within(target: Path, folder: Path) -> bool:
    root = folder.resolve()
    try:
        real = target.resolve()
    except (OSError, RuntimeError):  # a loop of links; RuntimeError before Python 3.13
        return False
    if real.is_relative_to(root):
        return True
    # Hub caches link every file of snapshots/REVISION/ into a sibling `blobs` folder; that is still one repository.
    snapshots = [parent for parent in root.parents if parent.name == "snapshots"]
    return any(real.is_relative_to(parent.parent / "blobs") for parent in snapshots)


def _check_file(path: Path, info: FileInfo | None) -> None:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise BundleError(f"{path} is missing ({error.strerror}); export the model again") from error
    if info is not None and size != info.size:
        raise BundleError(
            f"{path} has {size} bytes, the manifest says {info.size}; it is truncated or changed, "
            "export the model again"
        )


def sha256(path: Path) -> str:
    """Hex digest of a file, read in chunks."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
