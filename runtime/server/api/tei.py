"""TEI's routes (text-embeddings-inference 1.9), so that its clients can be pointed at this server.

Errors have TEI's shape and the statuses of ``problems.py``. ``POST /`` is the route that
``huggingface_hub.InferenceClient(URL)`` calls. TEI's ``/rerank`` is in ``rerank.py``, beside Jina's.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import msgspec
import numpy as np

from ....poolers.spec import PoolingSpec
from ...errors import InputError
from ...pairs import PairOptions
from ...params import PoolingParams
from ...postprocess import sigmoid, softmax, softmax_or_sigmoid
from ...prompting import with_prompt
from ...prompts import Prompt, parse_prompts
from ...requests import run
from ...scoring import pair_prompts
from ...vectors import embed_sparse
from ..exchange import Exchange, Reply, json_reply
from ..explaining import explain_mismatch
from ..models import Served
from ..problems import BadRequest
from ..route import Route
from .rerank import rerank_texts
from .score import scored
from .tei_fields import (
    DecodeRequest,
    HubParameters,
    PredictInput,
    Prediction,
    PredictRequest,
    RootRequest,
    SimilarityInput,
    SimilarityParameters,
    SimilarityRequest,
    SparseValue,
    TeiEmbedRequest,
    TeiInfo,
    TeiRerankRequest,
    TextFields,
    call_options,
    has_no_activation,
)

_DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
_POOLING = {"LAST": "last_token"}
# `function_to_apply` of Hugging Face's text classification, on raw scores.
_FUNCTIONS: dict[str | None, Callable[[np.ndarray], np.ndarray]] = {
    "sigmoid": sigmoid,
    "softmax": softmax,
    "none": lambda values: values,
}


def embed(exchange: Exchange, body: TeiEmbedRequest) -> Reply:
    """Embed texts or token ids: one vector each."""
    served = exchange.model(body.model, "embed")
    params = PoolingParams(dimensions=body.dimensions, normalize=body.normalize)
    with exchange.engine(served) as engine:
        rows = run(engine, "embed", _prompts(exchange, served, body), params, body.options())
    return json_reply([vector for _, vector in rows])


def embed_all(exchange: Exchange, body: TextFields) -> Reply:
    """Embed every token of the texts."""
    served = exchange.model(body.model, "token_embed")
    with exchange.engine(served) as engine:
        rows = run(engine, "token_embed", _prompts(exchange, served, body), None, body.options())
    return json_reply([vectors for _, vectors in rows])


def sparse(exchange: Exchange, body: TextFields) -> Reply:
    """Embed texts as weights per vocabulary entry."""
    served = exchange.model(body.model, "sparse_embed")
    with exchange.engine(served) as engine:
        rows = embed_sparse(engine, _prompts(exchange, served, body), None, body.options())
    data: list[list[dict[str, Any]]] = [
        [{"index": index, "value": value} for index, value in zip(*weights, strict=True)] for _, weights in rows
    ]
    return json_reply(data)


def predict(exchange: Exchange, body: PredictRequest) -> Reply:
    """Classify texts or pairs of texts; every label with its score, the largest first.

    A client of Hugging Face's hosted inference is told by its ``parameters``, and answered in that
    service's form: always a list a text.
    """
    batch, is_batch = _sequences(body.inputs)
    exchange.check_count("inputs", batch)
    served = exchange.model(body.model, "classify")
    hub, spec = body.parameters or HubParameters(), served.spec
    function = _FUNCTIONS.get(hub.function_to_apply)
    if function is None and has_no_activation(spec) and not body.raw_scores:
        function = softmax_or_sigmoid
    params = PoolingParams(use_activation=not body.raw_scores and function is None)
    options = body.options()
    with exchange.engine(served) as engine:
        pairs = [(item[0], item[1]) for item in batch if len(item) == 2]
        paired = iter(pair_prompts(engine, pairs, params, options, PairOptions()))
        prompts = [next(paired) if len(item) == 2 else Prompt(text=item[0]) for item in batch]
        rows = run(engine, "classify", prompts, params, options)
    answers = [_labelled(spec, value if function is None else function(value))[: hub.top_k] for _, value in rows]
    return json_reply(answers if is_batch or body.parameters is not None else answers[0])


def similarity(exchange: Exchange, body: SimilarityRequest) -> Reply:
    """Compare a sentence with others, by the similarity that the checkpoint names (TEI: always the cosine)."""
    exchange.check_count("inputs.sentences", body.inputs.sentences)
    served = exchange.model(body.model, "embed", "token_embed")
    if served.spec.convert != "embed":
        raise InputError("similarity needs an embedding model; rank texts with this one by /rerank")
    inputs, how = body.inputs, body.parameters or SimilarityParameters()
    options = call_options(how.truncate, how.truncation_direction)
    pairing = PairOptions(query_prompt_name=how.prompt_name, document_prompt_name=how.prompt_name)
    outputs = scored(
        exchange, served, [inputs.source_sentence], inputs.sentences, PoolingParams(), options, pairing
    )  # fmt: skip
    return json_reply([output.outputs.score for output in outputs])


def decode(exchange: Exchange, body: DecodeRequest) -> Reply:
    """Turn token ids into text; one list of ids is one text.

    Raises:
        BadRequest: an empty list, or ids among lists of ids.
    """
    lists = [item for item in body.ids if isinstance(item, list)]
    if not body.ids or 0 < len(lists) < len(body.ids):
        raise BadRequest(f"ids must be token ids or lists of token ids, got {_shown(body.ids)}", "ids")
    batch = lists or [[item for item in body.ids if isinstance(item, int)]]
    exchange.check_count("ids", batch)
    tokenizer = exchange.model(body.model).engine.tokenizer
    return json_reply([tokenizer.decode(ids, skip_special_tokens=body.skip_special_tokens) for ids in batch])


def root(exchange: Exchange, body: RootRequest) -> Reply:
    """Answer as the route that the request's shape and the model ask for.

    Raises:
        BadRequest: neither ``inputs`` nor ``query`` and ``texts``.
    """
    if isinstance(body.inputs, SimilarityInput):
        return similarity(exchange, _part(SimilarityRequest, body))
    if body.query is not None and body.texts is not None:
        return rerank_texts(exchange, _part(TeiRerankRequest, body))
    if body.inputs is None:
        raise BadRequest("give inputs, or query and texts", "inputs")
    spec = exchange.model(body.model).spec
    if spec.convert == "classify":
        return predict(exchange, _part(PredictRequest, body))
    if spec.is_sparse_only:
        return sparse(exchange, _part(TextFields, body))
    return embed(exchange, _part(TeiEmbedRequest, body))


def info(exchange: Exchange, body: None) -> Reply:
    """Describe the first model and the server's limits, under TEI's names."""
    served, config = exchange.models.models[0], exchange.config
    engine, source = served.engine, served.engine.bundle.manifest.source
    data = TeiInfo(
        model_id=source.id,
        model_sha=source.revision or None,
        model_dtype=_DTYPES.get(engine.session.precision, engine.session.precision),
        served_model_name=served.name,
        model_type=_model_type(served.spec),
        max_concurrent_requests=config.max_concurrent_requests,
        max_input_length=engine.tokenizer.max_length,
        max_batch_tokens=engine.max_tokens,
        max_batch_requests=engine.config.max_batch_size,
        max_client_batch_size=config.max_inputs,
        auto_truncate=True,
        tokenization_workers=config.max_concurrent_requests,
        version=version("pool-export"),
    )
    return json_reply(msgspec.to_builtins(data))


def _prompts(exchange: Exchange, served: Served, body: TextFields) -> list[Prompt]:
    prompts = parse_prompts(body.inputs) if body.inputs != [] else []
    exchange.check_count("inputs", prompts)
    return with_prompt(prompts, served.engine.tokenizer.policy, served.spec, prompt_name=body.prompt_name)


def _sequences(inputs: PredictInput) -> tuple[list[tuple[str, ...]], bool]:
    """Texts and pairs, and whether they came as a batch.

    Raises:
        BadRequest: a list that is neither.
    """
    if isinstance(inputs, str):
        return [(inputs,)], False
    if inputs and all(isinstance(item, str) for item in inputs) and len(inputs) <= 2:
        return [tuple(str(item) for item in inputs)], False
    batch = [tuple(item) for item in inputs if isinstance(item, list)]
    if not batch or len(batch) != len(inputs) or not all(1 <= len(item) <= 2 for item in batch):
        raise BadRequest(
            "inputs must be a text, a pair [text, text], or a batch of lists of one or two texts, such as "
            f"[[text], [text, text]], got {_shown(inputs)}",
            "inputs",
        )
    return batch, True


def _shown(value: Any, most: int = 80) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= most else text[: most - 1] + "…"


def _labelled(spec: PoolingSpec, values: np.ndarray) -> list[dict[str, Any]]:
    order = np.argsort(-values, kind="stable")
    return [
        {"score": values[index], "label": spec.labels[index] if spec.labels else f"LABEL_{index}"} for index in order
    ]


def _model_type(spec: PoolingSpec) -> dict[str, Any]:
    if spec.convert == "embed":
        kind = spec.pooling[0]
        return {"embedding": {"pooling": _POOLING.get(kind, kind.lower())}}
    names = spec.labels or tuple(f"LABEL_{index}" for index in range(spec.num_labels or 0))
    labels = {
        "id2label": {str(index): name for index, name in enumerate(names)},
        "label2id": {name: index for index, name in enumerate(names)},
    }
    return {"reranker" if spec.num_labels == 1 else "classifier": labels}


def _part(form: type[Any], body: RootRequest) -> Any:
    """The fields of one route out of a body that has all of them, checked as that route checks them.

    Raises:
        BadRequest: a value of another route.
    """
    given = msgspec.to_builtins(body)
    fields = {name: given[name] for name in form.__struct_fields__ if given.get(name) is not None}
    try:
        return msgspec.convert(fields, form)
    except msgspec.ValidationError as error:
        raise explain_mismatch(str(error), msgspec.json.encode(fields), form) from error


def _route(path: str, handle: Callable[[Exchange, Any], Reply], summary: str, body: Any, answer: Any) -> Route:
    return Route(
        paths=(path,), handle=handle, summary=f"{summary} (TEI)", tag="TEI", body=body, answer=answer, dialect="tei"
    )


ROUTES = (
    _route("/embed", embed, "Embed texts", TeiEmbedRequest, list[list[float]]),
    _route("/embed_all", embed_all, "Embed every token", TextFields, list[list[list[float]]]),
    _route("/embed_sparse", sparse, "Embed texts as weights", TextFields, list[list[SparseValue]]),
    _route("/predict", predict, "Classify texts", PredictRequest, list[Prediction | list[Prediction]]),
    _route("/similarity", similarity, "Compare a sentence with others", SimilarityRequest, list[float]),
    _route("/decode", decode, "Turn token ids into texts", DecodeRequest, list[str]),
    _route("/", root, "The served model's own route", RootRequest, Any),
    Route(
        method="GET",
        paths=("/info",),
        handle=info,
        summary="The model and the limits (TEI)",
        tag="TEI",
        answer=TeiInfo,
        dialect="tei",
        computes=False,
    ),
)
