"""The official `openai` client, unchanged, against a live server."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest

from pool_export.runtime.llm import LLM

TEXTS = ["a text", "another one"]


@pytest.fixture(scope="module")
def client(live: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{live.url}/v1", api_key="none", max_retries=0)


@pytest.fixture(scope="module")
def want(minilm_bundle: Path) -> np.ndarray:
    outputs = LLM(minilm_bundle, device="cpu").embed(TEXTS, use_tqdm=False)
    return np.array([output.outputs.embedding for output in outputs])


def test_texts_and_token_ids(client: openai.OpenAI, want: np.ndarray):
    # The client asks for base64 by itself and decodes it.
    found = client.embeddings.create(model="minilm", input=TEXTS)
    assert [item.index for item in found.data] == [0, 1]
    assert (found.object, found.model) == ("list", "minilm")
    assert found.usage.prompt_tokens == found.usage.total_tokens == 8
    assert np.abs(np.array([item.embedding for item in found.data]) - want).max() < 1e-6
    (one,) = client.embeddings.create(model="minilm", input=TEXTS[0]).data
    assert np.abs(np.array(one.embedding) - want[0]).max() < 1e-6
    ids = client.post("../tokenize", body={"prompt": TEXTS[1], "model": "minilm"}, cast_to=dict[str, Any])["tokens"]
    for form in (ids, [ids]):
        (one,) = client.embeddings.create(model="minilm", input=form).data
        assert np.abs(np.array(one.embedding) - want[1]).max() < 1e-6


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_an_encoding_that_is_asked_for(client: openai.OpenAI, want: np.ndarray, encoding: Any):
    (item,) = client.embeddings.create(model="minilm", input=TEXTS[0], encoding_format=encoding, user="me").data
    assert isinstance(item.embedding, list if encoding == "float" else str)
    if encoding == "float":
        assert np.abs(np.array(item.embedding) - want[0]).max() < 1e-6


def test_dimensions(client: openai.OpenAI):
    (item,) = client.embeddings.create(model="matryoshka", input="a", dimensions=8).data
    assert len(item.embedding) == 8
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model="minilm", input="a", dimensions=8)
    assert caught.value.status_code == 400
    assert caught.value.type == "BadRequestError"
    assert caught.value.code == "400"  # its type for a code is a string
    assert "does not support matryoshka representation" in caught.value.message
    with pytest.raises(openai.BadRequestError, match=r"only supports \[8, 16\] matryoshka dimensions"):
        client.embeddings.create(model="matryoshka", input="a", dimensions=9)


def test_an_unknown_model(client: openai.OpenAI):
    with pytest.raises(openai.NotFoundError) as caught:
        client.embeddings.create(model="none", input="a")
    assert (caught.value.code, caught.value.type) == ("404", "NotFoundError")
    assert "The model `none` does not exist" in caught.value.message


def test_too_many_texts(client: openai.OpenAI):
    with pytest.raises(openai.UnprocessableEntityError, match="the limit of one request is 2048"):
        client.embeddings.create(model="minilm", input=["a"] * 2049)


def test_models(client: openai.OpenAI, served_bundles: dict[str, Path]):
    found = list(client.models.list())
    assert [model.id for model in found] == list(served_bundles)
    assert {model.object for model in found} == {"model"}


def test_many_at_once(live: Any, want: np.ndarray):
    async def ask() -> list[Any]:
        async with openai.AsyncOpenAI(base_url=f"{live.url}/v1", api_key="none", max_retries=0) as client:
            calls = [client.embeddings.create(model="minilm", input=TEXTS[i % 2]) for i in range(16)]
            with pytest.raises(openai.BadRequestError, match="The decoder prompt cannot be empty"):
                await client.embeddings.create(model="minilm", input=[[]])
            return list(await asyncio.gather(*calls))

    found = np.array([answer.data[0].embedding for answer in asyncio.run(ask())])
    assert np.abs(found - np.tile(want, (8, 1))).max() < 1e-6


def test_keys(open_app: Any, minilm_bundle: Path):
    app = open_app(f"minilm={minilm_bundle}", api_key="first,second")

    def ask(key: str) -> openai.OpenAI:
        return openai.OpenAI(base_url="http://testserver/v1", api_key=key, http_client=app, max_retries=0)

    with pytest.raises(openai.AuthenticationError) as caught:
        ask("third").embeddings.create(model="minilm", input="a")
    assert (caught.value.code, caught.value.type) == ("401", "AuthenticationError")
    assert "the API key is not known to this server" in caught.value.message
    assert len(ask("second").embeddings.create(model="minilm", input="a").data) == 1
    assert app.post("/tokenize", json={"prompt": "a"}).status_code == 401
