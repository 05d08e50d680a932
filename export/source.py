"""Find a checkpoint (folder or Hub) and read the JSON files that decide its head. Loads no weights."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ..poolers.files import CheckpointFiles
from ..poolers.image_text import IMAGE_TEXT, towers_path
from ..poolers.st_modules import parse_chain
from .errors import SourceError
from .request import ExportRequest

_HUB_ID = re.compile(r"^\w[\w.-]*(/\w[\w.-]*)?$")
# Dense layers are small and often lie there in one form only.
_PATTERNS = ["*.json", "*.txt", "*.model", "*.jinja", "*.safetensors", "*_Dense/*.bin", "*_LayerNorm/*.bin"]
_IGNORED = ["onnx/*", "openvino/*", "*.gguf", "flax_*", "tf_*", "rust_*"]

# sentence-transformers named this file after the architecture before 2.0.
_TRANSFORMER_CONFIGS = tuple(
    f"sentence_{name}_config.json"
    for name in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)


@dataclass(frozen=True)
class Source:
    """A checkpoint on disk.

    Attributes:
        id: what the user named it (a Hub id, or the folder's name).
        folder: the checkpoint's root.
        model_folder: where the transformer's weights and tokenizer lie (the root, or
            ``0_Transformer`` in old sentence-transformers checkpoints).
        revision: Hub commit, empty for a local folder.
        licence: from the model card, empty when it does not say.
        files: the parsed JSON files, overrides applied.
    """

    id: str
    folder: Path
    model_folder: Path
    revision: str
    licence: str
    files: CheckpointFiles

    @property
    def lower_case(self) -> bool:
        """Whether texts are lower-cased before the tokenizer's own normaliser (a sentence-transformers setting)."""
        return bool(self.files.transformer_config.get("do_lower_case"))


def open_source(request: ExportRequest) -> Source:
    """Locate the checkpoint, downloading it when it is a Hub id.

    Raises:
        SourceError: nothing there, or not a Hugging Face checkpoint.
        ConfigError: a sentence-transformers module that cannot be exported.
    """
    folder, revision = locate(request)
    _require_transformers(folder, request.model)
    modules = _read_json(folder / "modules.json", list)
    _require_inside(folder, modules or [])
    module_configs = {
        str(entry.get("path")): _read_json(folder / str(entry["path"]) / "config.json", dict) or {}
        for entry in modules or []
        if entry.get("path")
    }
    inside = towers_path(modules)
    if inside is None:
        inside = parse_chain(modules, module_configs).transformer_path if modules else ""
    model_folder = folder / inside
    config = _read_json(model_folder / "config.json", dict)
    if config is None:
        raise SourceError(f"{model_folder} has no config.json; expected a Hugging Face checkpoint")
    transformer_config = next(
        (found for name in _TRANSFORMER_CONFIGS if (found := _read_json(model_folder / name, dict))), None
    )
    files = CheckpointFiles(
        config=_completed(apply_overrides(config, request.hf_overrides or {})),
        modules=modules,
        module_configs=module_configs,
        transformer_config=transformer_config or {},
        st_config=_read_json(folder / "config_sentence_transformers.json", dict) or {},
        tokenizer_config=_read_json(model_folder / "tokenizer_config.json", dict) or {},
    )
    name = request.model if revision else folder.resolve().name
    return Source(name, folder, model_folder, revision, _licence(folder), files)


def _completed(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Fill in what an image-text ``config.json`` leaves to its class; transformers knows the class."""
    if next(iter(config.get("architectures") or ()), "") not in IMAGE_TEXT:
        return config
    from .tower_config import completed

    return completed(config)


def apply_overrides(config: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Merge ``hf_overrides`` into a config; a mapping recurses into a nested one (vLLM's rule)."""
    merged = dict(config)
    for key, value in overrides.items():
        nested = merged.get(key)
        if isinstance(value, Mapping) and isinstance(nested, Mapping):
            merged[key] = apply_overrides(nested, value)
        else:
            merged[key] = value
    return merged


def locate(request: ExportRequest) -> tuple[Path, str]:
    """Find the checkpoint's folder and, for a Hub id, its commit; a Hub id is downloaded.

    Raises:
        SourceError: nothing there.
    """
    path = Path(request.model).expanduser()
    if path.is_dir():
        return path, ""
    if path.exists():
        raise SourceError(f"{request.model} is a file; expected a checkpoint folder or a Hub id")
    if not _HUB_ID.match(request.model):
        raise SourceError(f"{request.model} does not exist; expected a checkpoint folder or a Hub id such as org/name")
    return _download(request)


def _download(request: ExportRequest) -> tuple[Path, str]:
    from huggingface_hub import snapshot_download

    patterns = [*_PATTERNS, "*.py"] if request.trust_remote_code else list(_PATTERNS)

    def fetch(allowed: list[str]) -> Path:
        return Path(
            snapshot_download(
                request.model, revision=request.revision, allow_patterns=allowed, ignore_patterns=_IGNORED
            )
        )

    try:
        folder = fetch(patterns)
        if not any(folder.glob("*.safetensors")) and not any(folder.glob("0_*/*.safetensors")):
            folder = fetch([*patterns, "*.bin"])
    except Exception as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise SourceError(
            f"{request.model} is neither a folder nor a reachable Hub repository ({reason}); "
            "check the name, the network, or HF_TOKEN for a gated one"
        ) from error
    return folder, folder.name


def _require_transformers(folder: Path, shown: str) -> None:
    """Refuse checkpoints of other libraries by optimum's own detection (diffusers, timm)."""
    from optimum.exporters.tasks import TasksManager

    try:
        library = TasksManager.infer_library_from_model(str(folder))
    except Exception:  # noqa: BLE001  (it raises ValueError, OSError ... when no file it knows is there)
        library = "unknown"
    if library in ("diffusers", "timm"):
        raise SourceError(f"{shown} is a {library} model; expected a transformers or sentence-transformers checkpoint")
    if library == "unknown" and not any((folder / name).is_file() for name in ("config.json", "modules.json")):
        raise SourceError(f"{shown} has neither config.json nor modules.json; expected a Hugging Face checkpoint")


def _require_inside(folder: Path, modules: list[Any]) -> None:
    """Refuse module paths that lead out of the checkpoint: their files are copied into the bundle."""
    for entry in modules:
        path = entry.get("path", "") if isinstance(entry, Mapping) else None
        if not isinstance(path, str) or PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise SourceError(f"{folder / 'modules.json'}: {entry!r} does not name a module inside the checkpoint")


def _read_json(path: Path, kind: type) -> Any:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise SourceError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(value, kind):
        raise SourceError(f"{path}: expected a JSON {kind.__name__}, got {type(value).__name__}")
    return value


def _licence(folder: Path) -> str:
    from huggingface_hub import ModelCard

    card = folder / "README.md"
    if not card.is_file():
        return ""
    try:
        stated = ModelCard.load(str(card)).data.get("license")
    except Exception:  # noqa: BLE001  (a card with odd metadata is no reason to refuse the weights)
        return ""
    return str(stated or "")
