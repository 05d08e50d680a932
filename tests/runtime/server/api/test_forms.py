"""Bodies of several forms, called without HTTP: what reaches the engine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from pool_export.poolers.parts import LateInteraction, TextSide
from pool_export.runtime.chat_template import ChatTemplate
from pool_export.runtime.errors import InputError
from pool_export.runtime.llm import LLM
from pool_export.runtime.scheduling.call import Call
from pool_export.runtime.scheduling.scheduler import QueueLimits, Scheduler
from pool_export.runtime.server.config import ServerConfig
from pool_export.runtime.server.exchange import Exchange
from pool_export.runtime.server.models import Registry, Served
from pool_export.runtime.server.problems import BadRequest
from pool_export.runtime.server.reading import decode
from pool_export.runtime.server.routes import ROUTES

PROMPTS = {"prompts": {"query": "one ", "passage": "two "}, "default_prompt_name": "query"}
CHAT = [{"role": "user", "content": "three"}]


@dataclass
class Server:
    """`ask(path, **body)` of a model over a numpy graph; `ids` is what was run."""

    llm: LLM
    served: Served
    ids: list[list[int]] = field(default_factory=list)

    def ask(self, path: str, **body: Any) -> Any:
        (route,) = [route for route in ROUTES if path in route.paths]
        exchange = Exchange(Registry([self.served]), ServerConfig(), "r", Call())
        return json.loads(route.handle(exchange, decode(json.dumps(body).encode(), route.body)).body)


@pytest.fixture
def serve(fake_llm: Callable[..., LLM], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Server]]:
    opened: list[Scheduler] = []

    def make(convert: str = "embed", chat: ChatTemplate | None = None, **options: Any) -> Server:
        llm = fake_llm(convert, **options)
        opened.append(Scheduler(llm.engine, QueueLimits(window=0)))
        server = Server(llm, Served("fake", llm.engine, opened[-1], chat=chat))
        forward = llm.engine.forward
        monkeypatch.setattr(
            llm.engine,
            "forward",
            lambda batch, outputs, **how: server.ids.extend(x.ids for x in batch) or forward(batch, outputs, **how),
        )
        return server

    yield make
    for scheduler in opened:
        scheduler.close()


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ({}, [1, 6, 8, 2]),  # the checkpoint's default
        ({"prompt_name": "passage"}, [1, 7, 8, 2]),
        ({"prompt": "four "}, [1, 9, 8, 2]),
        ({"prompt": ""}, [1, 8, 2]),
        ({"add_special_tokens": False}, [6, 8]),
    ],
)
@pytest.mark.parametrize("path", ["/v1/embeddings", "/pooling"])
def test_a_prompt_goes_before_a_text(serve: Any, path: str, options: dict[str, Any], ids: list[int]):
    server = serve(policy=PROMPTS)
    answer = server.ask(path, input="three", **options)
    assert server.ids == [ids]
    assert answer["usage"]["prompt_tokens"] == len(ids)


def test_token_ids_and_chats_get_no_prompt(serve: Any):
    server = serve(policy=PROMPTS, chat=ChatTemplate("five {{ messages[0].content }}"))
    server.ask("/v1/embeddings", input=[7, 8])
    server.ask("/v1/embeddings", messages=CHAT)
    server.ask("/v1/embeddings", messages=CHAT, add_special_tokens=True)
    assert server.ids == [[7, 8], [10, 8], [1, 10, 8, 2]]
    with pytest.raises(BadRequest, match="prompt and prompt_name go before the texts of `input`"):
        server.ask("/v1/embeddings", messages=CHAT, prompt_name="query")
    with pytest.raises(InputError, match="a prompt cannot be put before token ids"):
        server.ask("/v1/embeddings", input=[7, 8], prompt_name="query")


def test_a_plain_template_leaves_the_special_tokens_to_the_tokenizer(serve: Any):
    server = serve(chat=ChatTemplate("{{ messages[0].content }}", is_plain=True))
    server.ask("/v1/embeddings", messages=CHAT)
    server.ask("/v1/embeddings", messages=CHAT, add_special_tokens=False)
    assert server.ids == [[1, 8, 2], [8]]


def test_late_interaction_reads_queries_and_documents(serve: Any):
    late = LateInteraction(query=TextSide(marker_id=4), document=TextSide(marker_id=3))
    server = serve(pooling=("ALL",), late_interaction=late)
    asked = {"task": "token_embed", "input": "three"}
    rows = [server.ask("/pooling", **asked, input_type=side)["data"][0]["data"] for side in ("query", "document")]
    assert server.ids == [[1, 4, 8, 2], [1, 3, 8, 2]]
    for row, side in zip(rows, ("query", "document"), strict=True):
        (want,) = server.llm.encode("three", pooling_task="token_embed", input_type=side, use_tqdm=False)
        assert np.abs(np.array(row) - want.outputs.data).max() < 1e-6


def test_a_chat_is_classified(serve: Any):
    server = serve("classify", chat=ChatTemplate("{% for m in messages %}{{ m.content }} {% endfor %}"))
    (item,) = server.ask("/classify", messages=[*CHAT, {"role": "user", "content": "four"}])["data"]
    (want,) = server.llm.classify([[8, 9]], use_tqdm=False)
    assert np.abs(np.array(item["probs"]) - want.outputs.data).max() < 1e-6
    assert (item["label"], item["num_classes"]) == ("abc"[int(want.outputs.data.argmax())], 3)


def test_a_label_without_a_name_is_null(serve: Any):
    server = serve("classify", labels=())
    assert server.ask("/classify", input="three")["data"][0]["label"] is None
