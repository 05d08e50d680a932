"""Read what a checkpoint says about late interaction (ColBERT), in the formats that are found on the Hub.

Native sentence-transformers 6 (``MultiVectorMask``, ``query_expansion``), PyLate (``query_prefix``,
``document_length``, ``skiplist_words`` ...) and Stanford ColBERT (``artifact.metadata``, ``linear.weight``).
The older two are read as sentence-transformers 6.2 reads them (``multi_vector_encoder/model.py``).
Pure functions over parsed JSON; token ids are filled in later (``token_ids.py``).
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from .errors import ConfigError
from .files import CheckpointFiles
from .limits import hidden_size
from .parts import INPUT_TYPES, Expansion, HeadStep, LateInteraction, LateSimilarity, TextSide
from .sparse_modules import COLBERT_LINEAR
from .st_modules import ModuleChain, module_kind

# Stanford's own name, and vLLM's for jina-colbert-v2, which is stored the same way.
STANFORD_ARCHITECTURES = frozenset({"HF_ColBERT", "ColBERTJinaRobertaModel"})

_MASK = "MultiVectorMask"
_IO_KEYS = ("module_input_name", "module_output_name")
_PYLATE_KEYS = (
    "query_prefix",
    "document_prefix",
    "query_length",
    "document_length",
    "do_query_expansion",
    "attend_to_expansion_tokens",
    "skiplist_words",
)
_COLBERT_LENGTH = 32  # of a query, where nothing is said (PyLate, Stanford)
_STANFORD_MARKERS = {"query": ("query_token_id", "[unused0]"), "document": ("doc_token_id", "[unused1]")}
_STANFORD_SIZE = 128  # of a vector, where nothing is said


def is_native(modules: Sequence[Mapping[str, Any]] | None) -> bool:
    """Whether a chain is sentence-transformers' own multi-vector one."""
    return any(module_kind(entry) == _MASK for entry in modules or ())


def token_level_chain(
    modules: Sequence[Mapping[str, Any]], configs: Mapping[str, Mapping[str, Any]]
) -> tuple[list[Mapping[str, Any]], dict[str, Mapping[str, Any]]]:
    """Return a multi-vector chain as if it were a sentence-level one: without its mask, and without "token_embeddings".

    A chain that is none comes back as it is.
    """
    if any(module_kind(entry) == "Pooling" for entry in modules):
        return list(modules), dict(configs)
    kept = [entry for entry in modules if not (module_kind(entry) == _MASK and _is_own(entry))]
    plain: dict[str, Mapping[str, Any]] = {
        path: {key: value for key, value in config.items() if not (key in _IO_KEYS and value == "token_embeddings")}
        for path, config in configs.items()
    }
    return kept, plain


def _is_own(entry: Mapping[str, Any]) -> bool:
    return str(entry.get("type", "")).startswith("sentence_transformers.")


def stanford_chain(files: CheckpointFiles) -> ModuleChain:
    """Describe Stanford ColBERT's projection, which lies among the transformer's own weights.

    Its width is ``dim`` of ``artifact.metadata``, else vLLM's keys of ``config.json``.
    """
    stated = (files.artifact.get("dim"), files.config.get("colbert_dim"), files.config.get("projection_dim"))
    width = next((value for value in stated if isinstance(value, int)), _STANFORD_SIZE)
    step = HeadStep(
        kind="dense", tensors="linear.", in_features=hidden_size(files.config), out_features=width, bias=False
    )
    return ModuleChain("", None, (step,), normalize=True)


def bge_m3_vectors(files: CheckpointFiles) -> LateInteraction:
    """Describe bge-m3's multi-vector head (FlagEmbedding): every token but the first, projected."""
    width = hidden_size(files.config)
    step = HeadStep(kind="dense", path=COLBERT_LINEAR, in_features=width, out_features=width)
    return LateInteraction(steps=(step,), skips_first=True)


def late_interaction(files: CheckpointFiles) -> LateInteraction | None:
    """Read what is declared about queries and documents; ``None`` where nothing is.

    Raises:
        ConfigError: a setting that cannot be honoured.
    """
    if is_native(files.modules):
        return _native(files)
    if files.modules is None and files.architecture in STANFORD_ARCHITECTURES:
        return _stanford(files)
    stated = files.st_config
    if stated.get("model_type") == "ColBERT" or any(key in stated for key in _PYLATE_KEYS):
        return _pylate(files)
    return LateInteraction() if stated.get("model_type") == "MultiVectorEncoder" else None


def _native(files: CheckpointFiles) -> LateInteraction:
    entry = next(entry for entry in files.modules or () if module_kind(entry) == _MASK)
    path = str(entry.get("path", ""))
    config = files.module_configs.get(path) or {}
    if config.get("keep_only_token_ids"):
        raise ConfigError(f"{path}/config.json: {_MASK} with keep_only_token_ids is not supported (image documents)")
    tasks = config.get("skiplist_tasks") or ["document"]
    tasks = [tasks] if isinstance(tasks, str) else tasks
    settings = files.transformer_config
    expansion = settings.get("query_expansion")
    sides = {
        side: TextSide(
            prompt=_text(files.st_config.get("prompts") or {}, side),
            max_length=_length(settings, f"{side}_length"),
            skips=side in tasks,
        )
        for side in INPUT_TYPES
    }
    return LateInteraction(
        query=sides["query"],
        document=sides["document"],
        expansion=None if expansion is None else _expansion(expansion),
        skiplist_words=_words(config.get("skiplist_words") or ()),
        similarity=_similarity(files),
    )


def _pylate(files: CheckpointFiles) -> LateInteraction:
    stated = files.st_config
    prompts = stated.get("prompts") or {}
    sides = {}
    for side in INPUT_TYPES:
        marker = _text(stated, f"{side}_prefix")
        sides[side] = TextSide(
            marker=marker,
            prompt=_text(prompts, side).removeprefix(marker),
            max_length=_length(stated, f"{side}_length"),
            skips=side == "document",
        )
    expansion = None
    if stated.get("do_query_expansion") is not False:
        expansion = Expansion(
            length=sides["query"].max_length or _COLBERT_LENGTH,
            attend=bool(stated.get("attend_to_expansion_tokens", stated.get("attend_to_mask_tokens"))),
        )
    words = stated.get("skiplist_words")
    return LateInteraction(
        query=sides["query"],
        document=sides["document"],
        expansion=expansion,
        # PyLate leaves out punctuation unless told otherwise.
        skiplist_words=tuple(string.punctuation) if words is None else _words(words),
        similarity=_similarity(files),
    )


def _stanford(files: CheckpointFiles) -> LateInteraction:
    stated = files.artifact
    markers = {side: str(stated.get(key) or usual) for side, (key, usual) in _STANFORD_MARKERS.items()}
    skips = bool(stated.get("mask_punctuation", True))
    return LateInteraction(
        query=TextSide(marker=markers["query"]),
        document=TextSide(marker=markers["document"], max_length=_length(stated, "doc_maxlen"), skips=True),
        expansion=Expansion(
            length=_length(stated, "query_maxlen") or _COLBERT_LENGTH, attend=bool(stated.get("attend_to_mask_tokens"))
        ),
        skiplist_words=tuple(string.punctuation) if skips else (),
    )


def _expansion(config: Mapping[str, Any]) -> Expansion:
    unknown = set(config) - {"strategy", "attend", "token", "length"}
    strategy, length = config.get("strategy"), _length(config, "length")
    if unknown or strategy not in ("fixed", "min") or length is None:
        raise ConfigError(
            f"sentence_bert_config.json: query_expansion {dict(config)!r} is not understood; expected strategy fixed "
            "or min, a length, and perhaps attend and token"
        )
    return Expansion(
        length=length, token=config.get("token"), attend=bool(config.get("attend")), is_fixed=strategy == "fixed"
    )


def _similarity(files: CheckpointFiles) -> LateSimilarity:
    name = str(files.st_config.get("similarity_fn_name") or "maxsim").lower()
    # Saves that were made from a single-vector model carry its `cosine`; sentence-transformers passes over it too.
    return next((known for known in get_args(LateSimilarity) if known == name), "maxsim")


def _text(config: Mapping[str, Any], key: str) -> str:
    return str(config.get(key) or "")


def _length(config: Mapping[str, Any], key: str) -> int | None:
    value = config.get(key)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"{key} must be a number of tokens, got {value!r}")
    return value


def _words(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(word, str) for word in value):
        raise ConfigError(f"skiplist_words must be a list of texts, got {value!r:.80}")
    return tuple(value)
