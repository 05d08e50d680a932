"""`/tokenize` and `/detokenize` of a live server against transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from transformers import AutoTokenizer

TEXT = "Follow the white rabbit, naïve ☕!"


@pytest.mark.parametrize("model", ["minilm", "matryoshka"])
@pytest.mark.parametrize("special", [None, True, False])
def test_tokens_are_transformers(live: Any, served_bundles: dict[str, Path], model: str, special: bool | None):
    tokenizer = AutoTokenizer.from_pretrained(served_bundles[model])
    ids = tokenizer(TEXT, add_special_tokens=special is not False)["input_ids"]
    asked = {"prompt": TEXT, "model": model, "add_special_tokens": special, "return_token_strs": True}
    body = httpx.post(f"{live.url}/tokenize", json=asked).json()
    assert body == {
        "count": len(ids),
        "max_model_len": tokenizer.model_max_length,
        "tokens": ids,
        "token_strs": tokenizer.convert_ids_to_tokens(ids),
    }
    body = httpx.post(f"{live.url}/detokenize", json={"tokens": ids, "model": model}).json()
    assert body == {"prompt": tokenizer.decode(ids)}


def test_there_is_no_limit_of_length(live: Any):
    body = httpx.post(f"{live.url}/tokenize", json={"prompt": "a " * 500, "model": "minilm"}).json()
    assert (body["count"], body["max_model_len"], body["token_strs"]) == (502, 256, None)
    assert httpx.post(f"{live.url}/detokenize", json={"tokens": [], "model": "minilm"}).json() == {"prompt": ""}


@pytest.mark.parametrize(
    ("route", "body", "message"),
    [
        ("tokenize", {}, "give either `prompt` or `messages`, got neither"),
        ("tokenize", {"prompt": "a", "messages": []}, "got both"),
        ("tokenize", {"messages": []}, "messages must be one conversation"),
        ("tokenize", {"messages": [[{"role": "user"}]]}, "messages must be one conversation"),
        ("tokenize", {"messages": [{"role": "user", "content": "a"}]}, "this model has no chat template"),
        ("detokenize", {"tokens": [1, -1]}, "Token id -1 is out of vocabulary (0 to 30521)"),
        ("detokenize", {"tokens": [2**40]}, "is out of vocabulary"),
        ("detokenize", {"tokens": ["x"]}, "tokens[0]: "),
        ("detokenize", {}, "tokens"),
    ],
)
def test_what_cannot_be_served_is_named(live: Any, route: str, body: dict[str, Any], message: str):
    response = httpx.post(f"{live.url}/{route}", json={"model": "minilm", **body})
    assert response.status_code == 400
    assert message in response.json()["message"]
