"""The official `cohere` client, unchanged, against a live server."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cohere
import numpy as np
import pytest

from pool_export.runtime.llm import LLM
from pool_export.runtime.outputs import EmbeddingRequestOutput

TEXTS = ["a heron in the shallows", "the night train to the coast"]


@pytest.fixture(scope="module")
def client(live: Any) -> cohere.ClientV2:
    return cohere.ClientV2(api_key="none", base_url=live.url)


@pytest.fixture(scope="module")
def embedded(minilm_bundle: Path, offline: Callable[[Path], LLM]) -> list[EmbeddingRequestOutput]:
    return offline(minilm_bundle).embed(TEXTS, use_tqdm=False)


def test_embed_in_every_type(client: cohere.ClientV2, embedded: list[EmbeddingRequestOutput]):
    vectors = np.array([item.outputs.embedding for item in embedded])
    tokens = sum(len(item.prompt_token_ids) for item in embedded)
    answer = client.embed(
        model="minilm",
        texts=TEXTS,
        input_type="search_document",
        embedding_types=["float", "binary", "ubinary", "base64"],
    )
    found = answer.embeddings
    assert answer.response_type == "embeddings_by_type"
    assert np.abs(np.array(found.float_) - vectors).max() < 1e-6
    bits = np.unpackbits(np.array(found.ubinary, np.uint8), axis=1)
    assert (bits.astype(bool) == (np.array(found.float_) >= 0)).all()
    assert (np.array(found.binary) == np.array(found.ubinary) - 128).all()
    raw = np.array([np.frombuffer(base64.b64decode(text), "<f4") for text in found.base64 or []])
    assert np.array_equal(raw, np.array(found.float_, np.float32))
    assert answer.texts == TEXTS
    assert answer.meta is not None
    assert answer.meta.billed_units is not None
    assert answer.meta.billed_units.input_tokens == tokens


def test_embed_with_a_shorter_vector_and_inputs(client: cohere.ClientV2):
    inputs = [cohere.EmbedInput(content=[cohere.TextEmbedContent(text=text)]) for text in TEXTS]
    answer = client.embed(model="matryoshka", inputs=inputs, input_type="clustering", output_dimension=8)
    assert np.array(answer.embeddings.float_).shape == (2, 8)


def test_rerank(client: cohere.ClientV2, served_bundles: dict[str, Path], offline: Callable[[Path], LLM]):
    answer = client.rerank(model="cross-encoder", query="a bird", documents=TEXTS, top_n=2)
    scores = [
        item.outputs.score for item in offline(served_bundles["cross-encoder"]).score("a bird", TEXTS, use_tqdm=False)
    ]
    assert {item.index: item.relevance_score for item in answer.results} == pytest.approx(
        dict(enumerate(scores)), abs=1e-6
    )
    assert answer.results[0].relevance_score >= answer.results[1].relevance_score


@pytest.mark.parametrize("documents", [TEXTS, [{"text": text} for text in TEXTS]])
def test_rerank_of_the_first_version(live: Any, documents: Any):
    client = cohere.Client(api_key="none", base_url=live.url)
    answer = client.rerank(model="minilm", query="a bird by the water", documents=documents, return_documents=True)
    assert [item.index for item in answer.results] == [0, 1]
    assert [item.document.text for item in answer.results if item.document is not None] == TEXTS


def test_errors_are_the_clients_own(client: cohere.ClientV2):
    with pytest.raises(cohere.NotFoundError, match="The model `none` does not exist"):
        client.rerank(model="none", query="a", documents=["b"])
    with pytest.raises(cohere.BadRequestError, match="Unsupported input_type 'song'"):
        client.embed(model="minilm", texts=TEXTS, input_type="song")
    with pytest.raises(cohere.BadRequestError, match="does not support matryoshka"):
        client.embed(model="minilm", texts=TEXTS, input_type="search_query", output_dimension=8)
