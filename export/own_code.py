"""Models whose Python code lies in their repository: which class to ask for, and what its forward must agree with.

That code runs while exporting, with ``--trust-remote-code`` only; a bundle holds none of it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedModel,
)

from ..poolers.files import CheckpointFiles
from .errors import ExportError
from .quiet import quiet

_AUTO_CLASSES: dict[str, Any] = {
    "AutoModel": AutoModel,
    "AutoModelForSequenceClassification": AutoModelForSequenceClassification,
    "AutoModelForTokenClassification": AutoModelForTokenClassification,
    "AutoModelForCausalLM": AutoModelForCausalLM,
}
_TOLERANCE = 1e-4


def own_loader(files: CheckpointFiles) -> Any:
    """Return the auto class under which the checkpoint's code offers its architecture, or ``None``."""
    named: Any = files.config.get("auto_map") or {}
    for key, loader in _AUTO_CLASSES.items():
        if str(named.get(key) or "").rsplit(".", 1)[-1] == files.architecture != "":
            return loader
    return None


def is_own_code(model: nn.Module) -> bool:
    """Whether a model's class came out of a repository."""
    return type(model).__module__.split(".", 1)[0] == "transformers_modules"


def require_own_forward(model: PreTrainedModel, classifier: nn.Module) -> None:
    """Refuse a class whose forward is more than the classifier over the backbone's states (gates, several heads).

    Raises:
        ExportError: its ``logits`` are not the classifier's, for each token or for the last.
    """
    pad = model.config.pad_token_id
    ids = torch.tensor([[index for index in range(3, 12) if index != pad]])
    mask = torch.ones_like(ids)
    with torch.no_grad(), quiet():
        try:
            answer = model(input_ids=ids, attention_mask=mask)
            states = model.base_model(input_ids=ids, attention_mask=mask).last_hidden_state
        except Exception as error:
            reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise ExportError(f"{type(model).__name__}: the checkpoint's own code fails: {reason}") from error
        composed = classifier(states.to(torch.float32))
    logits = getattr(answer, "logits", None)
    if logits is None:
        return  # a backbone class that leaves its head to the caller
    wanted = composed if logits.shape == composed.shape else composed[:, -1]
    if logits.shape != wanted.shape or not torch.allclose(logits, wanted, rtol=_TOLERANCE, atol=_TOLERANCE):
        raise ExportError(
            f"{type(model).__name__}: its forward answers logits {tuple(logits.shape)} that are not those of the head "
            f"found among its modules {[name for name, _ in model.named_children()]}; it cannot be represented"
        )
