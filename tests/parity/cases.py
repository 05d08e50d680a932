"""One row of the table: a checkpoint, how it is opened on either side, and what is asked of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# vLLM's attention on a CPU wants heads of 32 or more. These families' are half as wide as the model, others' a quarter.
_WIDE_HEADS = frozenset({"arcee", "gemma", "gemma2", "gemma3_text", "mistral", "qwen3"})
# What the checkpoints on the Hub have in their config.json and transformers 5 no longer writes by itself.
_AS_ON_THE_HUB = {family: {"position_embedding_type": "absolute"} for family in ("roberta", "xlm-roberta")}


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is compared: one engine of vLLM, one bundle of ours.

    Attributes:
        name: unique; the name of the test, of its figures, and what `known_differences.toml` refers to.
        family, head, config: the checkpoint (`write_tiny`); unknown keys land in `config.json`,
            and `None` leaves out one that checkpoints on the Hub have.
        modules: sentence-transformers' files (`write_modules`); `None` for a plain checkpoint.
        files: JSON files to merge keys into, by name.
        prefix: goes before the name of every weight, where `*Model` was saved as a part of something.
        copies: weights saved a second time under another name, as tied ones are in older checkpoints.
        tensors: further weights in `model.safetensors`, by name and shape.
        linears: files of one `nn.Linear` each (bge-m3 keeps its heads so), by name and (out, in).
        convert, pooler_config, hf_overrides: as given to both sides.
        ours, theirs: engine options of one side alone.
        task: vLLM's active task (0.32 has one an engine); `None` for its own choice.
        answered, refused: requests (names of `questions.py`) that both sides must answer, or both refuse.
    """

    name: str
    family: str
    head: str = "base"
    config: Mapping[str, Any] = field(default_factory=dict)
    modules: Mapping[str, Any] | None = None
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    prefix: str = ""
    copies: Mapping[str, str] = field(default_factory=dict)
    tensors: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    linears: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    convert: str = "auto"
    pooler_config: Mapping[str, Any] = field(default_factory=dict)
    hf_overrides: Mapping[str, Any] = field(default_factory=dict)
    ours: Mapping[str, Any] = field(default_factory=dict)
    theirs: Mapping[str, Any] = field(default_factory=dict)
    task: str | None = None
    answered: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()

    def write(self, folder: Path) -> Path:
        """Write the checkpoint."""
        from pool_export.models_zoo.st_files import write_modules
        from pool_export.models_zoo.tiny import ARCHITECTURES, write_tiny

        hidden = 64 if self.family in _WIDE_HEADS else 128
        config = {**_AS_ON_THE_HUB.get(self.family, {}), **self.config}
        config = {key: value for key, value in config.items() if value is not None}
        # Tracing takes most of the time: two layers only where layers alternate.
        layers = max(1, len(ARCHITECTURES[self.family].layer_types))
        write_tiny(folder, self.family, self.head, hidden_size=hidden, layers=layers, **config)
        if self.modules is not None:
            write_modules(folder, **self.modules)
        for name, keys in self.files.items():
            path = folder / name
            present = json.loads(path.read_text("utf-8")) if path.exists() else {}
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({**present, **keys}, indent=2), encoding="utf-8")
        self._write_heads(folder)
        return folder

    def _write_heads(self, folder: Path) -> None:
        """Arrange the weights as their authors did, and add heads that no class of transformers has."""
        import torch
        from safetensors.torch import load_file, save_file

        def drawn(shape: tuple[int, ...]) -> torch.Tensor:
            generator = torch.Generator().manual_seed(sum(shape))
            return torch.randn(shape, generator=generator) / shape[-1] ** 0.5

        file = folder / "model.safetensors"
        weights = {self.prefix + name: value for name, value in load_file(file).items()}
        weights |= {name: weights[source].clone() for name, source in self.copies.items()}
        weights |= {name: drawn(shape) for name, shape in self.tensors.items()}
        if self.prefix or self.copies or self.tensors:
            save_file(weights, file, metadata={"format": "pt"})
        for name, shape in self.linears.items():
            torch.save({"weight": drawn(shape), "bias": drawn(shape[:1])}, folder / name)

    def checkpoint_key(self) -> str:
        """What the checkpoint is made of: rows with the same key share one folder."""
        parts = [self.family, self.head, self.config, self.modules, self.files, self.prefix, self.copies]
        parts += [self.tensors, self.linears]
        return json.dumps(parts, sort_keys=True, default=dict)

    def our_options(self) -> dict[str, Any]:
        """Keyword arguments of `pool_export.LLM`."""
        return {
            "convert": self.convert,
            "pooler_config": dict(self.pooler_config),
            "hf_overrides": dict(self.hf_overrides),
            **self.ours,
        }

    def their_options(self) -> dict[str, Any]:
        """`engine` and `pooler_config` of the worker's line."""
        engine = {"convert": self.convert, "hf_overrides": dict(self.hf_overrides)}
        pooler = dict(self.pooler_config) | ({"task": self.task} if self.task else {})
        theirs = dict(self.theirs)
        return {"pooler_config": {**pooler, **theirs.pop("pooler_config", {})}, "engine": {**engine, **theirs}}
