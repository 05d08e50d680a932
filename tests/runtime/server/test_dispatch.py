"""One request through admission, reading, the worker and the scheduler; asked without a socket."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pool_export.runtime.scheduling.call import Call, Cancelled, Overloaded, Stopping
from pool_export.runtime.server import dispatch
from pool_export.runtime.server.dispatch import ServerState
from pool_export.runtime.server.observers import Finished
from pool_export.runtime.server.routes import ROUTES

Make = Callable[..., ServerState]
Ask = Callable[..., Any]
INPUT = {"input": ["one two", "three"]}


def graph_of(state: ServerState) -> Any:
    return state.models.models[0].graph  # type: ignore[attr-defined]


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.002)


def test_an_answer(make_server: Make, ask: Ask) -> None:
    state = make_server()
    answer = ask(state, INPUT)
    assert answer.status == 200
    assert [len(item["embedding"]) for item in json.loads(answer.body)["data"]] == [6, 6]
    assert "connection" not in answer.headers
    assert (state.active, state.accepted, state.bodies.held) == (0, {}, 0)


@pytest.mark.parametrize("given", ["abc-1.2:3_4", "a" * 129, "new\nline", ""])
def test_the_request_id_is_the_clients_if_it_is_one(make_server: Make, ask: Ask, given: str) -> None:
    headers = (("content-type", "application/json"), ("x-request-id", given))
    found = ask(make_server(), INPUT, headers=headers).headers["x-request-id"]
    assert (found == given) is (given == "abc-1.2:3_4")
    assert found.isprintable()


def test_every_route_that_takes_a_body_computes_and_asks_for_the_key(make_server: Make, ask: Ask) -> None:
    state = make_server(api_key="alpha,beta")
    for route in ROUTES:
        assert route.computes or route.method == "GET", route.paths
        for path in route.paths:
            answer = ask(state, b"{}", path=path, method=route.method)
            assert (answer.status == 401) is route.computes, path
            if route.computes and route.dialect == "openai":
                assert "Authorization: Bearer KEY" in answer.message
                assert answer.headers["www-authenticate"] == "Bearer"
    key = (("content-type", "application/json"), ("authorization", "Bearer beta"))
    assert ask(state, INPUT, headers=key).status == 200


def test_a_body_above_the_limit_closes_the_connection(make_server: Make, ask: Ask) -> None:
    state = make_server(max_body=100_000)
    headers = (("content-type", "application/json"), ("content-length", "50000000"))
    declared = ask(state, [b"a"] * 5, headers=headers)
    chunked = (("content-type", "application/json"), ("transfer-encoding", "chunked"))
    counted = ask(state, [b"a" * 60_000, b"a" * 60_000, b"a"], headers=chunked)
    assert "body has 50000000 bytes, the limit is 100000 (max_body)" in declared.message
    assert "body has more than 100000 bytes, the limit is 100000 (max_body)" in counted.message
    for answer in (declared, counted):
        assert (answer.status, answer.headers["connection"]) == (413, "close")
    assert state.bodies.held == 0


def test_an_early_refusal_closes_only_where_much_is_on_its_way(make_server: Make, ask: Ask) -> None:
    state = make_server(api_key="alpha")
    for size, closes in (("1000", False), ("5000000", True)):
        answer = ask(state, b"{}", headers=(("content-type", "application/json"), ("content-length", size)))
        assert answer.status == 401
        assert ("connection" in answer.headers) is closes


def test_too_many_inputs_name_the_limit(make_server: Make, ask: Ask) -> None:
    answer = ask(make_server(max_inputs=3), {"input": ["a"] * 4})
    assert answer.status == 422
    assert "input holds 4 items, the limit of one request is 3 (max_inputs)" in answer.message


def test_a_text_above_the_models_length_names_the_limit(make_server: Make, ask: Ask) -> None:
    answer = ask(make_server(), {"input": "one " * 20})
    assert answer.status == 400
    assert "22" in answer.message
    assert "10" in answer.message


def test_beyond_the_places_a_request_is_refused_with_a_time(make_server: Make, client: Ask) -> None:
    state = make_server(max_concurrent_requests=1)

    async def run() -> tuple[Any, Any]:
        graph_of(state).open.clear()
        first = asyncio.create_task(client(state, INPUT).ask())
        await until(lambda: state.active == 1)
        second = await client(state, INPUT).ask()
        graph_of(state).open.set()
        return await first, second

    first, second = asyncio.run(run())
    assert (first.status, second.status) == (200, 429)
    assert "1 requests are being answered, the limit is 1 (max_concurrent_requests)" in second.message
    assert int(second.headers["retry-after"]) >= 1
    assert state.active == 0


def test_beyond_the_queue_a_request_is_refused_with_a_time(make_server: Make, client: Ask) -> None:
    state = make_server(max_queued_tokens=7)

    async def run() -> list[Any]:
        graph_of(state).open.clear()
        first = asyncio.create_task(client(state, {"input": "one"}).ask())
        await until(graph_of(state).entered.is_set)
        second = asyncio.create_task(client(state, {"input": "one"}).ask())
        await until(lambda: state.models.models[0].scheduler.queued_tokens == 3)
        third = await client(state, {"input": "one two three"}).ask()
        graph_of(state).open.set()
        return [await first, await second, third]

    found = asyncio.run(run())
    assert [answer.status for answer in found] == [200, 200, 429]
    assert "3 tokens wait, this request has 5, the limit is 7 (max_queued_tokens)" in found[2].message
    assert int(found[2].headers["retry-after"]) >= 1


def test_the_deadline_is_a_504_and_frees_the_place(make_server: Make, client: Ask) -> None:
    state = make_server(request_timeout=0.05)
    graph_of(state).open.clear()

    async def run() -> Any:
        answers = await asyncio.gather(*(client(state, INPUT).ask() for _ in range(3)))
        await until(lambda: state.active == 0)
        return answers

    for answer in asyncio.run(run()):
        assert answer.status == 504
        assert "not answered within 0.05 s (request_timeout)" in answer.message
    assert state.models.models[0].scheduler.queued_rows == 0


def test_a_thread_that_computes_past_the_deadline_keeps_its_place_but_nobody_waits(
    make_server: Make, client: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "_PARTING", 0.01)
    state = make_server(request_timeout=0.05)
    slow = threading.Event()
    monkeypatch.setattr(dispatch, "decode", lambda data, shape: slow.wait(20))

    async def run() -> int:
        answer = await client(state, INPUT).ask()
        assert (answer.status, state.active) == (504, 1)
        slow.set()
        await until(lambda: state.active == 0)
        return int(answer.status)

    assert asyncio.run(run()) == 504


def test_a_client_that_hangs_up_frees_its_place(make_server: Make, client: Ask) -> None:
    state, seen = make_server(), []
    state.observers._observers = (seen.append,)

    async def run() -> None:
        graph_of(state).open.clear()
        running = asyncio.create_task(client(state, INPUT).ask())
        await until(graph_of(state).entered.is_set)
        gone = client(state, {"input": ["one"] * 50})
        waiting = asyncio.create_task(gone.ask())
        await until(lambda: state.models.models[0].scheduler.queued_rows == 50)
        gone.hang_up.set()
        assert (await waiting).status == 499
        assert state.models.models[0].scheduler.queued_rows == 0
        graph_of(state).open.set()
        assert (await running).status == 200

    asyncio.run(run())
    assert [type(finished.error) for finished in seen] == [Cancelled, type(None)]
    assert state.active == 0


def test_a_failed_forward_pass_is_this_requests_500(make_server: Make, ask: Ask, get: Ask) -> None:
    state = make_server()
    graph_of(state).error = ValueError("secret shapes")
    answer = ask(state, INPUT)
    assert answer.status == 500
    assert json.loads(answer.body)["type"] == "InternalServerError"
    graph_of(state).error = None
    assert ask(state, INPUT).status == 200
    assert get(state, "/ready").status == 200


def test_an_unexpected_error_tells_the_client_nothing(
    make_server: Make, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Finished] = []
    state = make_server()
    state.observers._observers = (seen.append,)

    def fail(data: bytes, shape: object) -> None:
        raise ZeroDivisionError("in /srv/secret.py")

    monkeypatch.setattr(dispatch, "decode", fail)
    answer = ask(state, INPUT)
    assert answer.status == 500
    assert b"secret" not in answer.body
    assert isinstance(seen[0].error, ZeroDivisionError)


def test_a_number_that_is_none_is_an_error_and_never_json(make_server: Make, ask: Ask) -> None:
    state = make_server()
    graph_of(state).is_finite = False
    answer = ask(state, INPUT)
    assert answer.status == 500
    assert b"NaN" not in answer.body
    assert b"null" not in answer.body.replace(b'"param":null', b"")


def test_ready_is_false_while_passes_fail_and_health_is_not(make_server: Make, ask: Ask, get: Ask) -> None:
    state = make_server()
    assert json.loads(get(state, "/ready").body) == {"status": "ready", "models": ["fake"]}
    graph_of(state).error = ValueError("broken")
    assert [ask(state, INPUT).status for _ in range(3)] == [500] * 3
    answer = get(state, "/ready")
    assert (answer.status, answer.message) == (503, "forward passes fail: fake")
    assert get(state, "/health").status == 200
    graph_of(state).error = None
    assert ask(state, INPUT).status == 200
    assert get(state, "/ready").status == 200


def test_health_is_false_when_a_scheduler_has_ended(make_server: Make, get: Ask) -> None:
    state = make_server()
    state.models.close(20)
    answer = get(state, "/health")
    assert answer.status == 503
    assert "the thread that runs the model has ended: fake; restart the server" in answer.message


def test_a_stopping_server_refuses_and_says_so(make_server: Make, client: Ask, get: Ask, ask: Ask) -> None:
    state = make_server()

    async def run() -> Any:
        graph_of(state).open.clear()
        accepted = asyncio.create_task(client(state, INPUT).ask())
        await until(lambda: state.active == 1)
        state.stop()
        refused = await client(state, INPUT).ask()
        graph_of(state).open.set()
        return await accepted, refused

    accepted, refused = asyncio.run(run())
    assert (accepted.status, refused.status) == (200, 503)
    assert refused.message == "the server is shutting down and takes no new requests"
    assert accepted.headers["connection"] == refused.headers["connection"] == "close"
    ready = get(state, "/ready")
    assert (ready.status, ready.message) == (503, "the server is shutting down")
    assert get(state, "/health").status == 200


def test_a_request_that_still_sends_its_body_is_accepted_already(make_server: Make, client: Ask) -> None:
    state = make_server()

    async def run() -> Any:
        sending = client(state, [b'{"input": ', b'"one"}'])
        sending.slow = asyncio.Event()
        answer = asyncio.create_task(sending.ask())
        await until(lambda: bool(state.accepted))
        state.stop()
        sending.slow.set()
        return await answer

    assert asyncio.run(run()).status == 200


def test_giving_up_answers_503_even_where_a_thread_is_stuck(
    make_server: Make, client: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "_PARTING", 0.02)
    state = make_server()
    stuck, real = threading.Event(), dispatch.decode
    monkeypatch.setattr(dispatch, "decode", lambda data, shape: (stuck.wait(20), real(data, shape))[1])

    async def run() -> list[Any]:
        graph_of(state).open.clear()
        tasks = [asyncio.create_task(client(state, INPUT).ask()) for _ in range(2)]
        await until(lambda: state.active == 2)
        sending = client(state, [b"{", b"}"])
        sending.slow = asyncio.Event()  # its body never ends
        tasks.append(asyncio.create_task(sending.ask()))
        await until(lambda: len(state.accepted) == 3)
        state.stop()
        await state.give_up()
        answers = [await task for task in tasks]
        stuck.set()
        await until(lambda: state.active == 0)
        return answers

    for answer in asyncio.run(run()):
        assert answer.status == 503
        assert answer.message == "the server stopped before this request was answered; send it again"
    assert state.accepted == {}


def test_places_are_counted(make_server: Make) -> None:
    state = make_server(max_concurrent_requests=2)

    async def run() -> None:
        state.accept(Call())
        state.enter()
        state.enter()
        with pytest.raises(Overloaded):
            state.enter()
        with pytest.raises(Overloaded):
            state.accept(Call())
        state.leave()
        state.enter()
        state.stop()
        with pytest.raises(Stopping):
            state.accept(Call())
        assert (state.active, len(state.accepted)) == (2, 1)

    asyncio.run(run())
    assert state.accepted == {}


def test_the_answers_are_the_engines(make_server: Make, ask: Ask, fake_llm: Any) -> None:
    found = json.loads(ask(make_server(), INPUT).body)["data"]
    want = [output.outputs.embedding for output in fake_llm().embed(INPUT["input"], use_tqdm=False)]
    assert np.abs(np.array([item["embedding"] for item in found]) - np.array(want)).max() < 1e-6
