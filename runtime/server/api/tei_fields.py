"""Bodies and answers of TEI's routes (text-embeddings-inference 1.9, ``router/src/http/types.rs``)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from ....poolers.spec import PoolingSpec
from ...requests import CallOptions

TruncationDirection = Literal["left", "right", "Left", "Right"]
Input = str | list[str | int | list[int]]
# A text, a pair of texts, or a batch of lists of one or two texts.
PredictInput = str | list[str | list[str]]


class TeiFields(msgspec.Struct, kw_only=True):
    """Fields of every TEI route. ``model`` is ours: TEI serves one model, this server may serve several.

    ``truncate`` unset means true, as it does on a TEI server with its own defaults (``--auto-truncate``).
    """

    model: str | None = None
    truncate: bool | None = None
    truncation_direction: TruncationDirection = "right"

    def options(self) -> CallOptions:
        """The fields as the engine takes them."""
        return call_options(self.truncate, self.truncation_direction)


def call_options(truncate: bool | None, direction: TruncationDirection) -> CallOptions:
    """Truncation as the engine takes it."""
    limit = None if truncate is False else -1
    return CallOptions(limit, tokenization_kwargs={"truncation_side": direction.lower()})


class TextFields(TeiFields, kw_only=True):
    """Texts, or token ids, that are embedded."""

    inputs: Input
    prompt_name: str | None = None


class TeiEmbedRequest(TextFields, kw_only=True):
    """What ``/embed`` takes."""

    normalize: bool = True
    dimensions: int | None = None


class HubParameters(msgspec.Struct, kw_only=True):
    """What a client of Hugging Face's hosted inference sends beside ``inputs`` to a text classifier."""

    top_k: Annotated[int, msgspec.Meta(ge=1)] | None = None
    function_to_apply: Literal["sigmoid", "softmax", "none"] | None = None


class PredictRequest(TeiFields, kw_only=True):
    """What ``/predict`` takes."""

    inputs: PredictInput
    raw_scores: bool = False
    parameters: HubParameters | None = None


class SimilarityInput(msgspec.Struct, kw_only=True):
    """A sentence and what it is compared with."""

    source_sentence: str
    sentences: list[str]


class SimilarityParameters(msgspec.Struct, kw_only=True):
    """How the sentences are read."""

    truncate: bool | None = None
    truncation_direction: TruncationDirection = "right"
    prompt_name: str | None = None


class SimilarityRequest(msgspec.Struct, kw_only=True):
    """What ``/similarity`` takes."""

    inputs: SimilarityInput
    parameters: SimilarityParameters | None = None
    model: str | None = None


class TeiRerankRequest(TeiFields, kw_only=True):
    """What ``/rerank`` takes from a client of TEI."""

    query: str
    texts: list[str]
    raw_scores: bool = False
    return_text: bool = False


class DecodeRequest(msgspec.Struct, kw_only=True):
    """Token ids of one text, or of several."""

    ids: list[int | list[int]]
    skip_special_tokens: bool = True
    model: str | None = None


class RootRequest(TeiFields, kw_only=True):
    """What ``POST /`` takes: the request of the route that the served model answers there.

    ``inputs`` with ``source_sentence`` is ``/similarity``, ``query`` with ``texts`` is ``/rerank``, a classifier
    answers ``/predict``, SPLADE ``/embed_sparse`` and any other embedding model ``/embed``.
    """

    inputs: str | list[str | int | list[int | str]] | SimilarityInput | None = None
    parameters: dict[str, Any] | None = None
    query: str | None = None
    texts: list[str] | None = None
    normalize: bool = True
    dimensions: int | None = None
    prompt_name: str | None = None
    raw_scores: bool = False
    return_text: bool = False


class SparseValue(msgspec.Struct, kw_only=True):
    """One weight."""

    index: int
    value: float


class Prediction(msgspec.Struct, kw_only=True):
    """One label's score."""

    score: float
    label: str


class TeiRank(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One text's rank."""

    index: int
    score: float
    text: str | None = None


class TeiInfo(msgspec.Struct, kw_only=True):
    """The first model and the server's limits, under TEI's names."""

    model_id: str
    model_sha: str | None
    model_dtype: str
    served_model_name: str
    model_type: dict[str, Any]
    max_concurrent_requests: int
    max_input_length: int
    max_batch_tokens: int
    max_batch_requests: int | None
    max_client_batch_size: int
    auto_truncate: bool
    tokenization_workers: int
    version: str
    sha: str | None = None
    docker_label: str | None = None


def has_no_activation(spec: PoolingSpec) -> bool:
    """Whether a classifier answers its logits as they are; TEI's routes make probabilities of them."""
    return spec.convert == "classify" and spec.activation == "identity"
