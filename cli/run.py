"""``pool-export embed | classify | score | reward``: a bundle over texts from the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from ..models_zoo.templates import find_template
from .io import check_output, read_pairs, read_texts
from .run_arguments import Record, RunArguments, numbers, run_options, short
from .token_rows import token_records, token_rows

if TYPE_CHECKING:
    import numpy as np

    from ..runtime.llm import LLM


_SHOWN_DOCUMENT = 70
_SHOWN_NUMBERS = 4
_SHOWN_LABELS = 3


@click.command("embed")
@click.argument("model")
@click.argument("texts", nargs=-1)
@click.option("--dimensions", type=int, help="Shorten the vectors (Matryoshka models).")
@click.option("--sparse", is_flag=True, help="Weights per token instead of a vector (SPLADE: always).")
@click.option("--image", "images", metavar="FILE", multiple=True, help="An image, after the texts; may be repeated.")
@click.option("--prompt-name", metavar="NAME", help="Which of the model's prompts goes before every text.")
@click.option("--prompt", metavar="TEXT", help="Text that goes before every text instead; '' for none.")
@run_options
def embed_command(
    arguments: RunArguments,
    dimensions: int | None,
    sparse: bool,
    images: tuple[str, ...],
    prompt_name: str | None,
    prompt: str | None,
) -> None:
    """Embed TEXTS and images with MODEL (a bundle; a checkpoint is exported into the cache first).

    \b
    Examples:
      pool-export embed ./bundle "some text" "another one"
      pool-export embed ./bundle --input corpus.txt --output vectors.npy
      pool-export embed ./splade "some text" --json
      pool-export embed ./clip "a photo of a cat" --image cat.jpg
    """
    prompts = arguments.prompts(optional=bool(images))
    llm = arguments.open()
    call = {**arguments.call(dimensions), "prompt_name": prompt_name, "prompt": prompt}
    if sparse or llm.spec.is_sparse_only:
        if images:
            raise click.UsageError("--image needs a model that embeds images; this one answers weights per token")
        _embed_sparse(arguments, llm, prompts, call)
        return
    pictures = [{"prompt": "", "multi_modal_data": {"image": path}} for path in images]
    results = llm.embed([*prompts, *pictures], **call)
    prompts += images
    arrays = [item.outputs.data for item in results]
    records: list[Record] = [{"index": i, "embedding": item.outputs.embedding} for i, item in enumerate(results)]
    rows = [(short(text), numbers(array)) for text, array in zip(prompts, arrays, strict=True)]
    arguments.emit(records, arrays, ("text", f"embedding ({len(arrays[0])} dimensions)"), rows)


def _embed_sparse(arguments: RunArguments, llm: LLM, prompts: list[str], call: dict[str, Any]) -> None:
    if arguments.output is not None and arguments.output.suffix == ".npy":
        raise click.UsageError("sparse vectors differ in length and are no array; write them to a .jsonl file")
    outputs = [item.outputs for item in llm.embed_sparse(prompts, **call)]
    records: list[Record] = [
        {"index": i, "indices": one.indices.tolist(), "values": one.values.tolist(), "tokens": list(one.tokens)}
        for i, one in enumerate(outputs)
    ]
    rows = [
        (short(text), len(one.indices), _largest(one.token_weights)) for text, one in zip(prompts, outputs, strict=True)
    ]
    arguments.emit(records, [one.values for one in outputs], ("text", "weights", "largest"), rows)


def _largest(weights: dict[str, float]) -> str:
    shown = "  ".join(f"{token}:{weight:.2f}" for token, weight in list(weights.items())[:_SHOWN_NUMBERS])
    return shown + ("  …" if len(weights) > _SHOWN_NUMBERS else "")


@click.command("classify")
@click.argument("model")
@click.argument("texts", nargs=-1)
@run_options
def classify_command(arguments: RunArguments) -> None:
    """Classify TEXTS with MODEL (a bundle; a checkpoint is exported into the cache first).

    \b
    Examples:
      pool-export classify ./bundle "what a lovely day"
      pool-export classify ./bundle --input reviews.jsonl --output labels.jsonl
    """
    prompts = arguments.prompts()
    llm = arguments.open()
    if "token_classify" in llm.spec.tasks and llm.spec.convert == "classify":
        columns = ("text", "token", "label", "logit" if arguments.raw else "probability")
        tagged = llm.encode(prompts, pooling_task="token_classify", **arguments.call())
        arguments.emit(
            token_records(llm, tagged), [item.outputs.data for item in tagged], columns, token_rows(llm, tagged)
        )
        return
    results = llm.classify(prompts, **arguments.call())
    arrays = [item.outputs.data for item in results]
    labels = [llm.spec.labels[int(array.argmax())] for array in arrays]
    records: list[Record] = [
        {"index": i, "label": label, "probs": item.outputs.probs}
        for i, (item, label) in enumerate(zip(results, labels, strict=True))
    ]
    rows = [(short(text), _best(array, llm.spec.labels)) for text, array in zip(prompts, arrays, strict=True)]
    arguments.emit(records, arrays, ("text", "logits" if arguments.raw else "probabilities"), rows)


@click.command("score")
@click.argument("model")
@click.argument("texts", nargs=-1, metavar="[QUERY DOCUMENT...]")
@click.option("--instruction", metavar="TEXT", help="What the score template tells the model to judge by.")
@click.option("--chat-template", metavar="NAME|FILE", help="Score template (jinja) instead of the bundle's.")
@click.option("--query-prompt-name", metavar="NAME", help="Embedding models: the prompt of the queries.")
@click.option("--document-prompt-name", metavar="NAME", help="Embedding models: the prompt of the documents.")
@run_options
def score_command(arguments: RunArguments, chat_template: str | None, **pairing: Any) -> None:
    """Score QUERY against every DOCUMENT, or the pairs of a .jsonl file, with MODEL.

    A cross-encoder reads each pair; an embedding model answers its similarity (mostly the
    cosine), a sparse one the dot product, late interaction MaxSim.
    A QUERY alone takes its documents from --input; without one, --input holds the pairs.

    \b
    Examples:
      pool-export score ./bundle "capital of France?" "Paris is." "Berlin is."
      pool-export score ./bundle "capital of France?" --input documents.txt
      pool-export score ./bundle --input pairs.jsonl --output scores.npy
    """
    check_output(arguments.output)
    template = find_template(chat_template) if chat_template is not None else None
    queries, documents = _pairs(arguments)
    results = arguments.open().score(queries, documents, chat_template=template, **pairing, **arguments.call())
    scores = [item.outputs.score for item in results]
    records: list[Record] = [{"index": i, "score": score} for i, score in enumerate(scores)]
    rows = [(f"{score:.4f}", short(text, _SHOWN_DOCUMENT)) for score, text in zip(scores, documents, strict=True)]
    if len(queries) == 1:
        rows = [rows[i] for i in sorted(range(len(rows)), key=lambda i: -scores[i])]
    arguments.emit(records, scores, ("score", "document"), rows)


@click.command("reward")
@click.argument("model")
@click.argument("texts", nargs=-1)
@run_options
def reward_command(arguments: RunArguments) -> None:
    """Reward TEXTS with MODEL: one row a token (or a step), as they are unless the model says else.

    \b
    Examples:
      pool-export reward ./bundle "the answer is 4" --json
    """
    prompts = arguments.prompts()
    results = arguments.open().reward(prompts, **arguments.call())
    arrays = [item.outputs.data for item in results]
    records: list[Record] = [{"index": i, "rewards": array.tolist()} for i, array in enumerate(arrays)]
    rows = [
        (short(text), f"{array.shape[0]} × {array.shape[1]}", numbers(array[-1]) if len(array) else "")
        for text, array in zip(prompts, arrays, strict=True)
    ]
    arguments.emit(records, arrays, ("text", "rows × width", "last row"), rows)


def _pairs(arguments: RunArguments) -> tuple[list[str], list[str]]:
    if arguments.source is not None and not arguments.texts:
        return read_pairs(arguments.source)
    if arguments.source is not None and len(arguments.texts) == 1:
        return read_texts(arguments.texts, None), read_texts((), arguments.source)
    query, *documents = arguments.prompts()
    if not documents:
        raise click.UsageError("give a query and at least one document")
    return [query], documents


def _best(values: np.ndarray, labels: Sequence[str]) -> str:
    order = (-values).argsort(kind="stable")
    shown = "  ".join(f"{labels[i]} {values[i]:.4f}" for i in order[:_SHOWN_LABELS])
    return shown + ("  …" if len(values) > _SHOWN_LABELS else "")
