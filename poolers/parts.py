"""The parts a :class:`PoolingSpec` is made of: modules, the sparse head, late interaction. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

StepKind = Literal["dense", "layer_norm", "normalize"]

# Which side of a search a text is on; late interaction reads the two differently.
InputType = Literal["query", "document"]
INPUT_TYPES: tuple[InputType, ...] = get_args(InputType)

SparseKind = Literal["splade", "token_weights"]
SpladeStrategy = Literal["max", "sum"]
SpladeFunction = Literal["relu", "log1p_relu"]
SparseSimilarity = Literal["dot", "cosine"]
LateSimilarity = Literal["maxsim", "meanmaxsim"]


@dataclass(frozen=True, kw_only=True)
class HeadStep:
    """One module between pooling and the output, in the order of ``modules.json``.

    ``path`` is the module's folder inside the checkpoint (weights), empty for weightless steps; or a
    ``.pt`` file that holds its tensors. ``tensors`` is the beginning of their names where they lie
    among the backbone's own weights (``linear.``: Stanford ColBERT). ``residual`` adds a dense step's
    input to its output, through a matrix of its own where the two differ in width.
    """

    kind: StepKind
    path: str = ""
    tensors: str = ""
    in_features: int | None = None
    out_features: int | None = None
    bias: bool = True
    activation: str = "identity"
    residual: bool = False


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
class TracedHead:
    """The settings of a head that are part of its graph, as they were at export."""

    use_activation: bool
    logit_mean: float | None = None
    logit_sigma: float | None = None
