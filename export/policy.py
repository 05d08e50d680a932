"""What a bundle says about its tokenizer, prompts and score template."""

from __future__ import annotations

from typing import cast

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..runtime.manifest import TokenizerPolicy
from .request_texts import default_prompt_name
from .source import Source
from .vision import family_of, text_tower


def tokenizer_policy(
    source: Source,
    tokenizer: PreTrainedTokenizerBase,
    model: PreTrainedModel,
    limit: int,
    score_template: str | None = None,
) -> TokenizerPolicy:
    """Collect the tokenizer policy of a bundle."""
    files = source.files
    embeddings = text_tower(source, model).get_input_embeddings()
    family = family_of(source)
    vocabulary = int(cast(torch.Tensor, embeddings.weight).shape[0])
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else files.config.get("pad_token_id")
    return TokenizerPolicy(
        max_length=limit,
        # Masked positions only need a valid id; 0 always is one.
        pad_token_id=pad if isinstance(pad, int) and 0 <= pad < vocabulary else 0,
        padding_side="left" if tokenizer.padding_side == "left" else "right",
        vocab_size=vocabulary,
        prompts={str(key): str(value) for key, value in (files.st_config.get("prompts") or {}).items()},
        default_prompt_name=default_prompt_name(files),
        score_template=score_template,
        pad_to_max_length=family is not None and family.pads_text,
    )
