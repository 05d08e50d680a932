"""Decoders that attend to both sides: set so in the model, proven, and spelt out for the reference.

transformers reads ``config.is_causal`` where it builds a mask; families that build their own (GPT-Neo, MPT), or
that build none for a text without padding (StableLM, Nemotron), would stay causal without a word.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel

from ..poolers.architectures import OWN_BIDIRECTIONAL_FAMILIES
from .errors import ExportError
from .quiet import quiet

_LENGTH = 6
_VISIBLE_CHANGE = 1e-5


def set_bidirectional(config: PretrainedConfig) -> None:
    """Make every layer attend to both sides; Gemma 3 has a switch of its own, which halves its window as well."""
    if not (config.model_type in OWN_BIDIRECTIONAL_FAMILIES and getattr(config, "use_bidirectional_attention", False)):
        config.is_causal = False


def explicit_mask(config: PretrainedConfig, length: int) -> Tensor | dict[str, Tensor]:
    """Spell out who sees whom in one unpadded text, float32 ``[1, 1, length, length]``: 0 seen, the minimum unseen.

    Every token sees every other; in a layer with a window, those at most ``sliding_window`` away (Gemma 3's own
    switch: less than that). A dict by kind of layer where a model mixes kinds.
    """
    everything = torch.zeros(1, 1, length, length)
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None) or ()
    if not isinstance(window, int) or (kinds and "sliding_attention" not in kinds):
        return everything
    reach = window if getattr(config, "is_causal", True) is False else window - 1
    positions = torch.arange(length)
    is_far = (positions[:, None] - positions[None, :]).abs() > reach
    near = everything.masked_fill(is_far, torch.finfo(torch.float32).min)
    return {"full_attention": everything, "sliding_attention": near} if kinds else near


def require_bidirectional(backbone: PreTrainedModel) -> None:
    """Refuse a backbone that stays causal, or that cannot be checked against an explicit mask.

    Raises:
        ExportError: the message names the family.
    """
    family = backbone.config.model_type
    ids = torch.arange(_LENGTH)[None]
    other = torch.cat([ids[:, :-1], ids[:, -1:] + 1], dim=1)
    mask = torch.ones_like(ids)
    with torch.no_grad(), quiet():
        try:
            first, changed = (
                backbone(input_ids=rows, attention_mask=mask).last_hidden_state[0, 0] for rows in (ids, other)
            )
            backbone(input_ids=ids, attention_mask=explicit_mask(backbone.config, _LENGTH))
        except Exception as error:
            reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise ExportError(
                f"{family} cannot be made bidirectional: its forward takes no explicit mask ({reason})"
            ) from error
    if float((first - changed).abs().max()) < _VISIBLE_CHANGE:
        raise ExportError(
            f"{family} cannot be made bidirectional: its attention stays causal in transformers whatever config.json "
            "says; drop is_causal=false to export it as it is"
        )
