"""Label names, and the activation of a classification head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .errors import ConfigError
from .spec import Activation


def label_names(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Label names by index; Hugging Face's default is two labels."""
    table = config.get("id2label")
    if isinstance(table, Mapping) and table:
        return tuple(str(table[key]) for key in sorted(table, key=int))
    return tuple(f"LABEL_{index}" for index in range(int(config.get("num_labels") or 2)))


def classification_activation(config: Mapping[str, Any], num_labels: int) -> Activation:
    """Choose the activation of a classifier (vLLM ``layers/pooler/activations.py``).

    Raises:
        ConfigError: the checkpoint names an activation outside ``torch.nn.modules`` or one with
            no counterpart here.
    """
    by_width: Activation = "sigmoid" if num_labels < 2 else "softmax"
    problem = config.get("problem_type")
    if problem == "regression":
        return "identity"
    if problem == "multi_label_classification":
        return "sigmoid"
    if problem == "single_label_classification":
        return by_width
    section = config.get("sentence_transformers")
    stated = section.get("activation_fn") if isinstance(section, Mapping) else None
    stated = stated or config.get("sbert_ce_default_activation_function")
    if stated is None:
        return by_width
    if not str(stated).startswith("torch.nn.modules."):
        raise ConfigError(f"activation function {stated!r} is not one of torch.nn.modules; refusing to load it")
    name = str(stated).rsplit(".", 1)[-1]
    if name == "Identity":
        return "identity"
    if name in ("Sigmoid", "Softmax"):
        return by_width
    raise ConfigError(f"activation function {stated!r} has no counterpart; expected Identity, Sigmoid or Softmax")
