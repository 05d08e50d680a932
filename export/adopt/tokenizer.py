"""The tokenizer of an existing export, taken over as it is: checked against its own settings, without transformers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from ...runtime.manifest import TokenizerPolicy
from ..errors import SourceError
from ..request_texts import default_prompt_name
from ..sidecars import VOCABULARY_FILES, write_json
from ..source import Source, read_json

# Classes that take tokenizer.json as it is; the others of transformers rebuild parts of it from their settings.
_GENERIC_CLASSES = ("PreTrainedTokenizerFast", "TokenizersBackend", "")
_SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_SIDES = {"left": "left", "right": "right"}


class AdoptedTokenizer:
    """``tokenizer.json`` with what the files beside it say.

    Attributes:
        content: the parsed ``tokenizer.json`` as the bundle gets it: no padding, no truncation.
        settings: the parsed ``tokenizer_config.json``.
        names: special tokens by role.
    """

    def __init__(self, source: Source) -> None:
        """Read and check.

        Raises:
            SourceError: no ``tokenizer.json``, a damaged one, or settings beside it that say otherwise.
        """
        folder = source.model_folder
        self.settings: Mapping[str, Any] = source.files.tokenizer_config
        content = read_json(folder / "tokenizer.json", dict)
        if content is None:
            raise SourceError(_missing(folder))
        self._check_case(folder, content.get("normalizer"))
        content["padding"] = content["truncation"] = None
        if source.lower_case:
            own = content.get("normalizer")
            steps = [{"type": "Lowercase"}, *([own] if own else [])]
            content["normalizer"] = {"type": "Sequence", "normalizers": steps}
        self.content: dict[str, Any] = content
        try:
            self._tokenizer = Tokenizer.from_str(json.dumps(content))
        except Exception as error:
            raise SourceError(f"{folder / 'tokenizer.json'} cannot be read: {error}") from error
        stated = {**self.settings, **(read_json(folder / "special_tokens_map.json", dict) or {})}
        self.names = {role: name for role in _SPECIAL_TOKENS if (name := _token_name(stated.get(role)))}
        self._check_ends(folder)

    def policy(self, source: Source, limit: int, vocabulary: int, score_template: str | None = None) -> TokenizerPolicy:
        """How the runtime uses it.

        Args:
            source: the checkpoint's files.
            limit: longest input in tokens.
            vocabulary: rows of the graph's embedding table.
            score_template: what makes one text of a query and a document, for some rerankers.
        """
        st = source.files.st_config
        pad = self._id("pad_token")
        candidates = (pad, source.files.config.get("pad_token_id"))
        side = _SIDES.get(str(self.settings.get("padding_side")), "right")
        return TokenizerPolicy(
            max_length=limit,
            pad_token_id=valid_id(candidates, vocabulary),
            padding_side="left" if side == "left" else "right",
            vocab_size=vocabulary,
            prompts={str(key): str(value) for key, value in (st.get("prompts") or {}).items()},
            default_prompt_name=default_prompt_name(source.files),
            score_template=score_template,
        )

    def write(self, folder: Path, source: Source, limit: int) -> None:
        """Write the tokenizer's files as every host looks for them."""
        write_json(folder / "tokenizer.json", self.content, indent=None)
        write_json(folder / "special_tokens_map.json", self.names)
        settings = {key: value for key, value in self.settings.items() if key != "max_length"}  # as in ``sidecars.py``
        write_json(folder / "tokenizer_config.json", {**settings, "model_max_length": limit})
        for name in (*VOCABULARY_FILES, "chat_template.jinja"):
            if (source.model_folder / name).is_file():
                shutil.copyfile(source.model_folder / name, folder / name)

    def _id(self, role: str) -> int | None:
        return self._tokenizer.token_to_id(self.names[role]) if role in self.names else None

    def _is_generic(self) -> bool:
        return str(self.settings.get("tokenizer_class") or "") in _GENERIC_CLASSES

    def _check_case(self, folder: Path, normalizer: Any) -> None:
        stated = self.settings.get("do_lower_case")
        if self._is_generic() or not isinstance(stated, bool) or not isinstance(normalizer, Mapping):
            return
        if normalizer.get("type") == "BertNormalizer" and normalizer.get("lowercase") is not stated:
            raise SourceError(
                f"{folder}: tokenizer_config.json says do_lower_case={json.dumps(stated)} and the normalizer of "
                f"tokenizer.json says lowercase={json.dumps(normalizer.get('lowercase'))}; make them agree with what "
                "the model was trained with"
            )

    def _check_ends(self, folder: Path) -> None:
        """Compare ``add_bos_token`` and ``add_eos_token`` with what a text really gets."""
        ids = self._tokenizer.encode("a").ids
        for key, role, end in (("add_bos_token", "bos_token", 0), ("add_eos_token", "eos_token", -1)):
            stated, token = self.settings.get(key), self._id(role)
            if self._is_generic() or not isinstance(stated, bool) or token is None or not ids:
                continue
            if (ids[end] == token) is not stated:
                does = f"{'leaves out' if stated else 'adds'} {self.names[role]}"
                raise SourceError(
                    f"{folder}: tokenizer_config.json says {key}={json.dumps(stated)}, and tokenizer.json {does}; "
                    "save the tokenizer again with transformers"
                )


def valid_id(candidates: tuple[Any, ...], vocabulary: int) -> int:
    """Return the first candidate that is a row of the embedding table; 0 always is one."""
    known = (
        value
        for value in candidates
        if isinstance(value, int) and value >= 0 and (value < vocabulary or not vocabulary)
    )
    return next(known, 0)


def _token_name(value: Any) -> str:
    name = value.get("content") if isinstance(value, Mapping) else value
    return name if isinstance(name, str) else ""


def _missing(folder: Path) -> str:
    others = [name for name in VOCABULARY_FILES if (folder / name).is_file()]
    found = f"only {', '.join(others)}" if others else "no tokenizer"
    return f"{folder} has {found}; expected tokenizer.json, the form that runs without transformers"
