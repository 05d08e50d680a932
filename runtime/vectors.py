"""Calls that answer more than one dense vector a text: sparse vectors, and every kind from one pass."""

from __future__ import annotations

from collections.abc import Mapping

from .engine import Array, PoolingEngine
from .errors import InputError
from .outputs import AllEmbeddingsOutput, EmbeddingOutput, SparseEmbeddingOutput
from .params import PoolingParams
from .postprocess import finish, required_output
from .prompts import Prompt
from .requests import CallOptions, Params, counted_rows, encode, prepare, progress_bar, run
from .sparse import Sparse, check_max_active_dims, to_sparse
from .tokens import Encoded


def embed_sparse(
    engine: PoolingEngine,
    prompts: list[Prompt],
    params: Params,
    options: CallOptions,
    max_active_dims: int | None = None,
) -> list[tuple[Encoded, Sparse]]:
    """Return the tokens that were run and the non-zero weights of every prompt.

    Raises:
        InputError: the model has no sparse vectors, or a prompt or a number cannot be served.
    """
    check_max_active_dims(max_active_dims)
    head = engine.bundle.manifest.pooling.sparse
    rows = run(engine, "sparse_embed", prompts, params, options)
    if head is None:
        raise InputError("this bundle's manifest does not describe its sparse head; export the model again")
    return [(item, to_sparse(head, value, item.ids, max_active_dims)) for item, value in rows]


def named(engine: PoolingEngine, sparse: Sparse) -> SparseEmbeddingOutput:
    """Give the indices their tokens."""
    spec = engine.bundle.manifest.pooling
    tokens = tuple(engine.tokenizer.tokens([int(index) for index in sparse[0]]))
    return SparseEmbeddingOutput(*sparse, tokens, (spec.embedding_size or 0) if spec.is_sparse_only else 0)


def embed_all(
    engine: PoolingEngine, prompts: list[Prompt], params: Params, options: CallOptions
) -> list[tuple[Encoded, AllEmbeddingsOutput]]:
    """Return every kind of vector of every prompt; the graph runs once.

    Raises:
        InputError: the model does not embed, or a prompt or parameter cannot be served.
    """
    spec = engine.bundle.manifest.pooling
    each = prepare(engine, "token_embed" if spec.is_token_level else "embed", prompts, params)
    encoded = encode(engine, prompts, each, options)
    names = [_outputs(engine, one) for one in each]
    asked = sorted({output for kinds in names for output in kinds.values()})
    with progress_bar(options.use_tqdm, len(encoded)) as bar:
        rows = engine.run(encoded, asked, bar.update if bar is not None else None)
    return [
        (item, _all_of(engine, kinds, one, row, item, options))
        for item, kinds, one, row in zip(encoded, names, each, rows, strict=True)
    ]


def _outputs(engine: PoolingEngine, params: PoolingParams) -> dict[str, str]:
    """Kind of vector -> the graph output that holds it."""
    spec, available = engine.bundle.manifest.pooling, engine.output_names
    if spec.is_sparse_only:
        return {"sparse": "sparse_embedding"}
    if spec.is_token_level:
        return {"tokens": required_output("token_embed", spec, available, params)}
    names = {"dense": required_output("embed", spec, available, params)}
    if spec.sparse is not None:
        names["sparse"] = "token_weights"
    if spec.late_interaction is not None:
        names["tokens"] = required_output("token_embed", spec, available, PoolingParams())
    return names


def _all_of(
    engine: PoolingEngine,
    names: Mapping[str, str],
    params: PoolingParams,
    row: Mapping[str, Array],
    item: Encoded,
    options: CallOptions,
) -> AllEmbeddingsOutput:
    spec = engine.bundle.manifest.pooling
    dense = tokens = sparse = None
    if "dense" in names:
        dense = EmbeddingOutput(finish("embed", spec, params, names["dense"], row[names["dense"]], item.ids))
    if "sparse" in names and spec.sparse is not None:
        sparse = named(engine, to_sparse(spec.sparse, row[names["sparse"]], item.ids))
    if "tokens" in names:
        own = params if spec.is_token_level else PoolingParams()
        value = finish("token_embed", spec, own, names["tokens"], row[names["tokens"]], item.ids)
        tokens = counted_rows("token_embed", spec, value, item.ids, options.input_type)
    return AllEmbeddingsOutput(dense, sparse, tokens)
