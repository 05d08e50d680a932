"""The vocabulary of pooling: closed sets of names, and the resolved description of one head.

Standard library only, so that every other part (the torch-free runtime above all) can read it.
Each closed vocabulary is one ``Literal``; the tuple used for run-time checks is derived from it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from .errors import ConfigError, closest

PoolingType = Literal["LAST", "CLS", "MEAN", "ALL", "STEP", "MAX", "MEAN_SQRT_LEN", "WEIGHTED_MEAN", "SPLADE"]
POOLING_TYPES: tuple[PoolingType, ...] = get_args(PoolingType)

TokenPoolingType = Literal["ALL", "STEP"]
TOKEN_POOLING_TYPES: tuple[TokenPoolingType, ...] = get_args(TokenPoolingType)

Convert = Literal["auto", "none", "embed", "classify", "reward"]
CONVERTS: tuple[Convert, ...] = get_args(Convert)

Runner = Literal["auto", "generate", "pooling"]
RUNNERS: tuple[Runner, ...] = get_args(Runner)

Task = Literal["embed", "classify", "score", "reward", "encode", "token_embed", "token_classify", "sparse_embed"]
TASKS: tuple[Task, ...] = get_args(Task)

Activation = Literal["identity", "normalize", "sigmoid", "softmax"]
ACTIVATIONS: tuple[Activation, ...] = get_args(Activation)

Source = Literal["user", "sentence_transformers", "architecture", "convert_default"]

StepKind = Literal["dense", "layer_norm", "normalize"]

PairFormat = Literal["pair", "concat"]

# Which side of a search a text is on; late interaction reads the two differently.
InputType = Literal["query", "document"]
INPUT_TYPES: tuple[InputType, ...] = get_args(InputType)

SparseKind = Literal["splade", "token_weights"]
SpladeStrategy = Literal["max", "sum"]
SpladeFunction = Literal["relu", "log1p_relu"]
SparseSimilarity = Literal["dot", "cosine"]
LateSimilarity = Literal["maxsim", "meanmaxsim"]

# Other spellings of the same idea: sentence-transformers' mode names, and those of models' own configs.
POOLING_ALIASES: dict[str, PoolingType] = {
    "AVG": "MEAN",
    "BOS": "CLS",
    "LAST_TOKEN": "LAST",
    "LASTTOKEN": "LAST",
    "CLS_TOKEN": "CLS",
    "MEAN_TOKENS": "MEAN",
    "MAX_TOKENS": "MAX",
    "MEAN_SQRT_LEN_TOKENS": "MEAN_SQRT_LEN",
    "WEIGHTEDMEAN": "WEIGHTED_MEAN",
    "WEIGHTEDMEAN_TOKENS": "WEIGHTED_MEAN",
}


def parse_pooling_type(name: object) -> PoolingType:
    """Map any accepted spelling to a pooling type.

    Raises:
        ConfigError: the name is not a pooling type; the message carries the nearest valid one.
    """
    if not isinstance(name, str):
        raise ConfigError(f"pooling type must be a string, got {type(name).__name__}: {name!r}")
    upper = name.upper()
    for known in POOLING_TYPES:
        if upper == known:
            return known
    if upper in POOLING_ALIASES:
        return POOLING_ALIASES[upper]
    raise ConfigError(f"unknown pooling type {name!r}{closest(upper, POOLING_TYPES)}")


@dataclass(frozen=True, kw_only=True)
class HeadStep:
    """One module between pooling and the output, in the order of ``modules.json``.

    ``path`` is the module's folder inside the checkpoint (weights), empty for weightless steps; or a
    ``.pt`` file that holds its tensors. ``tensors`` is the beginning of their names where they lie
    among the backbone's own weights (``linear.``: Stanford ColBERT).
    """

    kind: StepKind
    path: str = ""
    tensors: str = ""
    in_features: int | None = None
    out_features: int | None = None
    bias: bool = True
    activation: str = "identity"


@dataclass(frozen=True, kw_only=True)
class SparseHead:
    """A head whose answer is a weight per vocabulary entry.

    Attributes:
        kind: ``splade``: the graph answers the whole vector (SPLADE, arXiv 2109.10086);
            ``token_weights``: it answers a weight per token, and the host keeps the largest of each
            token id (bge-m3, arXiv 2402.03216).
        strategy, function: how SPLADE pools, and what follows its ReLU (``log1p_relu``: log1p twice,
            arXiv 2504.14839).
        max_active_dims: keep at most so many weights of a text (sentence-transformers' default for
            the checkpoint).
        similarity: what ``score`` answers for two such vectors.
        steps: the layer that weighs a token (``token_weights``).
        special_token_ids: tokens that never count (``token_weights``).
    """

    kind: SparseKind
    strategy: SpladeStrategy = "max"
    function: SpladeFunction = "relu"
    max_active_dims: int | None = None
    similarity: SparseSimilarity = "dot"
    steps: tuple[HeadStep, ...] = ()
    special_token_ids: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TextSide:
    """How late interaction reads the texts of one side.

    Attributes:
        marker, marker_id: a token that is inserted behind the tokenizer's own first one.
        prompt: text put in front.
        max_length: tokens kept of a text, markers included; longer ones are cut.
        skips: whether the rows of the skiplist's tokens are left out.
    """

    marker: str = ""
    marker_id: int | None = None
    prompt: str = ""
    max_length: int | None = None
    skips: bool = False


@dataclass(frozen=True, kw_only=True)
class Expansion:
    """ColBERT's query augmentation: short queries are filled up with a token whose rows count too.

    Attributes:
        length: tokens of a query after it.
        token, token_id: what fills up; without a name the mask token, else the end of text.
        attend: whether the model attends to it (Stanford ColBERT: not).
        is_fixed: whether longer queries are cut to ``length``.
    """

    length: int
    token: str | None = None
    token_id: int | None = None
    attend: bool = False
    is_fixed: bool = True


@dataclass(frozen=True, kw_only=True)
class LateInteraction:
    """What a multi-vector checkpoint declares about queries and documents.

    Attributes:
        query, document: how the texts of a side are read.
        expansion: how queries are filled up, if they are.
        skiplist_words, skiplist_token_ids: tokens whose rows are left out (punctuation).
        similarity: ``maxsim`` sums over the query's tokens, ``meanmaxsim`` takes the mean.
        steps: the projection, where it stands beside a pooled vector (bge-m3).
        skips_first: whether the first token's row is left out (bge-m3).
    """

    query: TextSide = TextSide()
    document: TextSide = TextSide()
    expansion: Expansion | None = None
    skiplist_words: tuple[str, ...] = ()
    skiplist_token_ids: tuple[int, ...] = ()
    similarity: LateSimilarity = "maxsim"
    steps: tuple[HeadStep, ...] = ()
    skips_first: bool = False

    @property
    def counted_token_id(self) -> int | None:
        """The token that the model does not attend to and whose rows and positions count all the same."""
        return self.expansion.token_id if self.expansion is not None and not self.expansion.attend else None


@dataclass(frozen=True, kw_only=True)
class PoolingSpec:
    """One fully resolved pooling head. Pure data: stored in the bundle, printed by the CLI.

    Attributes:
        convert: which adapter the graph was made with.
        pooling: pooling types whose results are concatenated (more than one only for
            sentence-transformers' multi-mode pooling).
        steps: modules applied after pooling (embed only).
        activation: the function applied last.
        use_activation: default of the per-request switch.
        hidden_size: width of the backbone's hidden states.
        embedding_size: width of the vector an ``embed`` request returns (``None`` otherwise).
        num_labels: width of the logits (classify), of a row of rewards (reward), or ``None``
            where the head is the hidden states themselves.
        labels: label names by index.
        is_matryoshka, matryoshka_dimensions: whether, and to which sizes, a request may shorten
            the vector.
        dimensions: default of the per-request ``dimensions``.
        logit_mean, logit_sigma: calibration ``(x - mean) / sigma`` applied before the activation.
        step_tag_id, returned_token_ids: STEP row and column selection.
        pair_format: how two texts become one input of a cross-encoder.
        sparse: the head of weights per vocabulary entry, alone or beside a pooled vector.
        late_interaction: what the checkpoint declares about query and document texts.
        sources: field name -> where its value came from.
    """

    convert: Convert
    pooling: tuple[PoolingType, ...]
    hidden_size: int
    steps: tuple[HeadStep, ...] = ()
    activation: Activation = "identity"
    use_activation: bool = True
    embedding_size: int | None = None
    num_labels: int | None = None
    labels: tuple[str, ...] = ()
    is_matryoshka: bool = False
    matryoshka_dimensions: tuple[int, ...] = ()
    dimensions: int | None = None
    logit_mean: float | None = None
    logit_sigma: float | None = None
    step_tag_id: int | None = None
    returned_token_ids: tuple[int, ...] | None = None
    pair_format: PairFormat = "pair"
    sparse: SparseHead | None = None
    late_interaction: LateInteraction | None = None
    sources: dict[str, Source] = field(default_factory=dict)

    @property
    def is_token_level(self) -> bool:
        """Whether the head answers one row per token (``ALL``, ``STEP``) and not one per text."""
        return self.pooling[0] in TOKEN_POOLING_TYPES

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Tasks a bundle with this head answers, the primary one first."""
        if self.convert == "embed":
            return self._embed_tasks()
        if self.convert == "reward":
            return ("reward", "token_classify", "encode")
        if self.is_token_level:
            return ("token_classify",)
        return ("classify", "score") if self.num_labels == 1 else ("classify",)

    def _embed_tasks(self) -> tuple[Task, ...]:
        if self.is_sparse_only:
            return ("embed", "score", "sparse_embed")
        if self.is_token_level:
            return ("token_embed", "encode") if self.pooling[0] == "STEP" else ("token_embed", "score", "encode")
        tasks: tuple[Task, ...] = ("embed", "score", "token_embed", "encode")
        return tasks if self.sparse is None else (*tasks, "sparse_embed")

    @property
    def is_sparse_only(self) -> bool:
        """Whether the head answers nothing but weights per vocabulary entry (SPLADE)."""
        return self.pooling[0] == "SPLADE"
