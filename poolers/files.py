"""The parsed JSON files of a checkpoint that say something about its pooling head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class CheckpointFiles:
    """The JSON files of a checkpoint that matter here, parsed; absent ones are empty.

    Attributes:
        config: ``config.json`` after ``hf_overrides``.
        modules: ``modules.json``, or ``None`` when the checkpoint has none.
        module_configs: module folder -> its ``config.json``.
        transformer_config: ``sentence_bert_config.json`` (or its per-architecture variants).
        st_config: ``config_sentence_transformers.json``.
        tokenizer_config: ``tokenizer_config.json``.
        artifact: Stanford ColBERT's ``artifact.metadata``.
        weight_files: names of the weight files of further heads that lie beside ``config.json``.
    """

    config: Mapping[str, Any]
    modules: Sequence[Mapping[str, Any]] | None = None
    module_configs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    transformer_config: Mapping[str, Any] = field(default_factory=dict)
    st_config: Mapping[str, Any] = field(default_factory=dict)
    tokenizer_config: Mapping[str, Any] = field(default_factory=dict)
    artifact: Mapping[str, Any] = field(default_factory=dict)
    weight_files: frozenset[str] = frozenset()

    @property
    def architecture(self) -> str:
        """The first architecture name, or an empty string."""
        names = self.config.get("architectures") or [""]
        return str(names[0])

    @property
    def model_type(self) -> str:
        """Hugging Face ``model_type``, or an empty string."""
        return str(self.config.get("model_type") or "")
