"""Files of a bundle that every host looks for: tokenizer and config."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..poolers.spec import PoolingSpec
from ..runtime.manifest import GraphInfo
from .errors import ExportError, SourceError
from .quiet import quiet
from .source import Source

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Vocabulary files of hosts that do not read tokenizer.json (.NET, sentencepiece bindings).
VOCABULARY_FILES = (
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)

CROSS_ENCODER = "CrossEncoder"  # `model_type` in config_sentence_transformers.json


def write_tokenizer(folder: Path, source: Source, tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
    """Write the tokenizer files that every host looks for.

    ``tokenizer.json`` carries neither padding nor truncation: fixed ones break ragged batches in
    hosts that honour them (fastembed#703). ``special_tokens_map.json`` is written because
    fastembed needs it and transformers 5 stopped writing it.

    Raises:
        SourceError: the tokenizer has no ``tokenizer.json`` form.
        ExportError: a file cannot be written.
    """
    with quiet():
        try:
            tokenizer.save_pretrained(folder)
        except OSError:
            raise
        except Exception as error:  # the Rust half has no class of its own for a full disk
            raise ExportError(f"{source.id}: the tokenizer cannot be written: {error}") from error
    for code in folder.glob("*.py"):
        code.unlink()  # a tokenizer of the repo's own writes its code beside it; a bundle runs none
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise SourceError(f"{source.id}: {type(tokenizer).__name__} did not write tokenizer.json")
    content = json.loads(path.read_text(encoding="utf-8"))
    content["padding"] = content["truncation"] = None
    write_json(path, content, indent=None)
    names = {key: str(value) for key, value in tokenizer.special_tokens_map.items()}
    write_json(folder / "special_tokens_map.json", names)
    config_path = folder / "tokenizer_config.json"
    config = json.loads(config_path.read_text(encoding="utf-8"))
    config["model_max_length"] = max_length
    config.pop("max_length", None)  # transformers makes it of `truncation` above; fastembed would cut there
    config.pop("auto_map", None)
    if config.get("tokenizer_class") == "TokenizersBackend":
        config["tokenizer_class"] = "PreTrainedTokenizerFast"  # its name before transformers 5, which still knows it
    write_json(config_path, config)
    for name in VOCABULARY_FILES:
        if (source.model_folder / name).is_file() and not (folder / name).exists():
            shutil.copyfile(source.model_folder / name, folder / name)


def write_config(folder: Path, source: Source, spec: PoolingSpec) -> None:
    """Write ``config.json`` as the graph was made from it, overrides included.

    A cross-encoder's activation is repeated where vLLM and sentence-transformers before 5.4 look for it.
    """
    config = {key: value for key, value in source.files.config.items() if key != "auto_map"}  # code that stays behind
    stated = source.files.st_config
    if stated.get("model_type") == CROSS_ENCODER and stated.get("activation_fn"):
        config["sentence_transformers"] = {"activation_fn": stated["activation_fn"]}
        config["sbert_ce_default_activation_function"] = stated["activation_fn"]  # before 4.0
    if spec.classifier_method is not None:
        # Hosts that know nothing of the method still count the labels right (transformers' default is two).
        config["id2label"] = {str(index): label for index, label in enumerate(spec.labels)}
        config["label2id"] = {label: index for index, label in enumerate(spec.labels)}
        config["num_labels"] = spec.num_labels
    write_json(folder / "config.json", config)


def write_transformers_js(folder: Path, graphs: Mapping[str, GraphInfo]) -> None:
    """Say in ``config.json`` what transformers.js would guess: which file to open, and how many lie beside it.

    In a browser it takes ``model_quantized.onnx`` unless told otherwise; ``fp32`` is its name for the file without a
    suffix, and external data is fetched only where it is announced.
    """
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    said: dict[str, Any] = {"dtype": "fp32"}
    beside = {Path(graph.files[0].path).name: len(graph.files) - 1 for graph in graphs.values() if len(graph.files) > 1}
    if beside:
        said["use_external_data_format"] = beside
    config["transformers.js_config"] = said
    write_json(path, config)


def write_json(path: Path, value: Any, indent: int | None = 2) -> None:
    """Write a JSON file, its folder included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=indent, ensure_ascii=False) + "\n", encoding="utf-8")
