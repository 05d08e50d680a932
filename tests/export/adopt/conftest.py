"""Plain ONNX exports as others make them, of tiny checkpoints: the layouts of optimum, transformers.js and kin."""

from __future__ import annotations

import inspect
import json
import shutil
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import transformers

from pool_export.export.adopt.pipeline import adopt_model
from pool_export.export.reporting import ExportResult
from pool_export.export.request import ExportRequest
from pool_export.models_zoo.st_files import write_modules
from pool_export.models_zoo.tiny import class_name, write_tiny

Plain = Callable[..., Path]


class PlainModel(torch.nn.Module):
    """A model whose forward takes tensors in a fixed order, and answers one output of the model's, or several."""

    def __init__(self, model: torch.nn.Module, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        super().__init__()
        self.model, self.inputs, self.outputs = model, inputs, outputs

    def forward(self, *rows: torch.Tensor) -> tuple[torch.Tensor, ...]:
        named = dict(zip(self.inputs, (row.long() for row in rows), strict=True))
        answer = self.model(**named, **({"use_cache": False} if hasattr(self.model.config, "use_cache") else {}))
        if "sentence_embedding" not in self.outputs:
            return tuple(answer[name] for name in self.outputs)
        # As sentence-transformers' own export: the states, and the pooled vector beside them.
        mask = named["attention_mask"].unsqueeze(-1)
        pooled = (answer.last_hidden_state * mask).sum(1) / mask.sum(1)
        values = {"token_embeddings": answer.last_hidden_state, "sentence_embedding": pooled}
        return tuple(values[name] for name in self.outputs)


def write_plain(
    folder: Path,
    checkpoint: Path,
    name: str,
    *,
    file: str = "onnx/model.onnx",
    outputs: Sequence[str] = (),
    positions: bool = False,
    dtype: torch.dtype = torch.int64,
    opset: int = 18,
    dynamo: bool = False,
    fixed: Sequence[int] = (),
) -> Path:
    """Trace a checkpoint's own forward, with nothing of ours in it, and write it as optimum-cli lays it out."""
    model = getattr(transformers, name).from_pretrained(checkpoint, attn_implementation="eager").eval()
    known = inspect.signature(model.forward).parameters
    inputs = ["input_ids", "attention_mask"]
    inputs += ["token_type_ids"] if "token_type_ids" in known and getattr(model.config, "type_vocab_size", 0) else []
    inputs += ["position_ids"] if positions else []
    outputs = outputs or (("logits",) if "For" in name else ("last_hidden_state",))
    shutil.copytree(checkpoint, folder, ignore=shutil.ignore_patterns("model.safetensors"), dirs_exist_ok=True)
    for module in checkpoint.glob("*_*"):
        if (module / "model.safetensors").is_file():
            shutil.copyfile(module / "model.safetensors", folder / module.name / "model.safetensors")
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    ids = (torch.arange(22).reshape(2, 11) + 4).to(dtype)
    ones = torch.ones_like(ids)
    rows = {
        "input_ids": ids,
        "attention_mask": ones,
        "token_type_ids": torch.zeros_like(ids),
        "position_ids": torch.arange(11, dtype=dtype).expand(2, 11),
    }
    axes = {axis: word for axis, word in enumerate(("batch_size", "sequence_length")) if axis not in fixed}
    shapes: dict[str, Any] = {}
    if dynamo:
        shapes["dynamic_shapes"] = ({axis: torch.export.Dim.DYNAMIC for axis in axes},) * len(inputs)
        shapes["dynamic_shapes"] = (shapes["dynamic_shapes"],)  # one for *rows
    else:
        shapes["dynamic_axes"] = {**dict.fromkeys(inputs, axes), **{name: {0: "batch_size"} for name in outputs}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            PlainModel(model, inputs, outputs), tuple(rows[key] for key in inputs), str(folder / file),
            input_names=inputs, output_names=list(outputs), opset_version=opset, dynamo=dynamo, **shapes,
        )  # fmt: skip
    return folder


@pytest.fixture(scope="session")
def plain(tiny_folder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Plain:
    """Return `plain(family, head="base", model={...}, **options)`: an export by torch.onnx alone, made once."""
    made: dict[str, Path] = {}

    def make(family: str, head: str = "base", model: dict[str, Any] | None = None, **options: Any) -> Path:
        key = json.dumps([family, head, model, options], default=str)
        if key not in made:
            folder = tmp_path_factory.mktemp("plain") / f"{family}-{head}"
            checkpoint = tiny_folder(family, head, **(model or {}))
            made[key] = write_plain(folder, checkpoint, class_name(family, head), **options)
        return made[key]

    return make


@pytest.fixture
def own(plain: Plain, tmp_path: Path) -> Plain:
    """Return `own(...)`: a copy of what `plain` makes, for a test to change."""

    def copy(*args: Any, **options: Any) -> Path:
        return Path(shutil.copytree(plain(*args, **options), tmp_path / "export"))

    return copy


@pytest.fixture(scope="session")
def st_export(tmp_path_factory: pytest.TempPathFactory) -> Plain:
    """Return `st_export(outputs=(), **modules)`: BERT as a sentence-transformers repository with an ONNX file."""
    base = tmp_path_factory.mktemp("st")

    def make(outputs: Sequence[str] = (), **modules: Any) -> Path:
        folder = Path(base / f"{len(list(base.iterdir()))}")
        write_modules(write_tiny(folder / "checkpoint", "bert"), **modules)
        return write_plain(folder / "export", folder / "checkpoint", "BertModel", outputs=outputs)

    return make


@pytest.fixture
def adopt(tmp_path: Path) -> Callable[..., ExportResult]:
    """Return `adopt(folder, graph=None, **options)`: into `bundle` in the test's folder."""

    def run(folder: Path, graph: str | None = None, **options: Any) -> ExportResult:
        return adopt_model(ExportRequest(model=str(folder), output=tmp_path / "bundle", **options), graph)

    return run


def edit_graph(path: Path, change: Callable[[onnx.ModelProto], None]) -> None:
    """Change an ONNX file in place."""
    model = onnx.load(path)
    change(model)
    onnx.save(model, path)


def edit_json(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file; `None` takes a key away."""
    content = {**json.loads(path.read_text("utf-8")), **changes}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


TOY_SIZE = 4


def toy_model(
    *,
    inputs: str = "int64[batch, length] input_ids, int64[batch, length] attention_mask",
    outputs: str = "float[batch, length, 4] last_hidden_state",
    body: str = "last_hidden_state = Gather (table, input_ids)",
    opset: int = 18,
    rows: int = 2000,
) -> onnx.ModelProto:
    """A model of one table: each token is a row of it, whatever stands beside it."""
    text = f'<ir_version: 8, opset_import: ["" : {opset}]> toy ({inputs}) => ({outputs}) {{ {body} }}'
    model = onnx.parser.parse_model(text)
    table = np.random.default_rng(0).normal(size=(rows, TOY_SIZE)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(table, "table"))
    if "weight" in body:
        weight = np.array([[1, 2, 0, 0], [-2, 1, 0, 0], [0, 0, 1, 1], [0, 1, -1, 1]], np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "weight"))
    return model


@pytest.fixture
def toy(tiny_folder: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """Return `toy(file="onnx/model.onnx", config={...}, **graph)`: an export of a toy, with BERT's tokenizer."""

    def make(file: str = "onnx/model.onnx", config: dict[str, Any] | None = None, **graph: Any) -> Path:
        folder = tmp_path / "toy"
        if not folder.exists():
            ignored = shutil.ignore_patterns("model.safetensors")
            shutil.copytree(tiny_folder("bert", layers=1), folder, ignore=ignored)
        edit_json(folder / "config.json", hidden_size=TOY_SIZE, **(config or {}))
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        onnx.save(toy_model(**graph), folder / file)
        return folder

    return make
