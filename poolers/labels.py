"""Label names, and the activation of a classification head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .errors import ConfigError
from .files import CheckpointFiles
from .spec import Activation, Source

_TORCH_MODULES = "torch.nn.modules."


def label_names(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Label names by index; Hugging Face's default is two labels.

    ``num_labels`` beside an ``id2label`` of another size wins, as in transformers.

    Raises:
        ConfigError: ``id2label`` has a key that is not an index.
    """
    table = config.get("id2label")
    names: tuple[str, ...] = ()
    if isinstance(table, Mapping):
        try:
            names = tuple(str(table[key]) for key in sorted(table, key=int))
        except ValueError:
            raise ConfigError(f"config.json: id2label must map indices to names, got the keys {list(table)}") from None
    count = int(config.get("num_labels") or len(names) or 2)
    return names if count == len(names) else tuple(f"LABEL_{index}" for index in range(count))


def classification_activation(files: CheckpointFiles, num_labels: int) -> tuple[Activation, Source]:
    """Choose the activation of a classifier (vLLM ``layers/pooler/activations.py``) and say who chose it.

    Raises:
        ConfigError: the checkpoint names an activation outside ``torch.nn.modules`` or one with
            no counterpart here.
    """
    by_width: Activation = "sigmoid" if num_labels < 2 else "softmax"
    by_problem: dict[str, Activation] = {
        "regression": "identity",
        "single_label_classification": by_width,
        "multi_label_classification": "sigmoid",
    }
    problem = str(files.config.get("problem_type"))
    if problem in by_problem:
        return by_problem[problem], "architecture"
    stated = _stated_activation(files)
    if stated is None:
        return by_width, "convert_default"
    if not stated.startswith(_TORCH_MODULES):
        raise ConfigError(f"activation function {stated!r} is not one of torch.nn.modules; refusing to load it")
    name = stated.rsplit(".", 1)[-1]
    if name == "Identity":
        return "identity", "sentence_transformers"
    if name in ("Sigmoid", "Softmax"):
        return by_width, "sentence_transformers"
    if name == "Tanh":
        return "tanh", "sentence_transformers"
    raise ConfigError(f"activation function {stated!r} has no counterpart; expected Identity, Sigmoid, Softmax or Tanh")


def _stated_activation(files: CheckpointFiles) -> str | None:
    """Return the class path that a cross-encoder was saved with: since 5.4, since 4.0, or before."""
    section = files.config.get("sentence_transformers")
    stated = (
        files.st_config.get("activation_fn")
        or (section.get("activation_fn") if isinstance(section, Mapping) else None)
        or files.config.get("sbert_ce_default_activation_function")
    )
    return None if stated is None else str(stated)
