"""Answers cases with vLLM; runs in an interpreter of its own and knows nothing of pool_export.

One JSON line in (`checkpoint`, `engine`, `pooler_config`, `requests`, `arrays`), one JSON line out. Each case is a
forked child: vLLM is imported once, and every engine begins with the state of a fresh process.
`ask` is the one description of a call; the tests put the same requests to `pool_export.LLM` with it.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ENGINE = {"dtype": "float32", "enforce_eager": True, "max_num_seqs": 16, "runner": "pooling"}


def ask(llm: Any, request: dict[str, Any], pooling_params: Callable[..., Any]) -> list[tuple[list[int], np.ndarray]]:
    """Put one request to an `LLM` of either side; the token ids and the numbers of every answer, in order."""
    method, given = request["method"], request.get("params")
    params = [pooling_params(**one) for one in given] if isinstance(given, list) else None
    if isinstance(given, dict):
        params = pooling_params(**given)
    options = {"use_tqdm": False, "pooling_params": params, **request.get("options", {})}
    if method == "score":
        answers = llm.score(request["queries"], request["documents"], **options)
        return [(answer.prompt_token_ids, np.float32([answer.outputs.score])) for answer in answers]
    answers = getattr(llm, method)(request["prompts"], **options)
    field = {"embed": "embedding", "classify": "probs"}.get(method, "data")
    return [
        (answer.prompt_token_ids, np.asarray(getattr(answer.outputs, field), dtype=np.float32)) for answer in answers
    ]


def ask_all(
    open_llm: Callable[[], Any], requests: dict[str, dict[str, Any]], pooling_params: Callable[..., Any]
) -> tuple[dict[str, list[tuple[list[int], np.ndarray]]], dict[str, str]]:
    """Open a model and put every request to it: the answers, and the words of what it refused."""
    answers: dict[str, list[tuple[list[int], np.ndarray]]] = {}
    refused: dict[str, str] = {}
    try:
        llm = open_llm()
    except Exception as error:  # noqa: BLE001  whatever it is, it is this side's answer
        return {}, dict.fromkeys(requests, f"not opened: {_words(error)}")
    for name, request in requests.items():
        try:
            answers[name] = ask(llm, request, pooling_params)
        except Exception as error:  # noqa: BLE001
            refused[name] = _words(error)
    return answers, refused


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:1000]


def _answer(case: dict[str, Any]) -> dict[str, Any]:
    from vllm import LLM, PoolingParams
    from vllm.config import PoolerConfig

    def open_llm() -> Any:
        pooler = {"pooler_config": PoolerConfig(**case["pooler_config"])} if case["pooler_config"] else {}
        return LLM(case["checkpoint"], **{**ENGINE, **case["engine"]}, **pooler)

    began = time.monotonic()
    answers, refused = ask_all(open_llm, case["requests"], PoolingParams)
    arrays = {}
    for name, rows in answers.items():
        for index, (ids, values) in enumerate(rows):
            arrays[f"{name}/{index}/ids"], arrays[f"{name}/{index}/values"] = np.int64(ids), values
    np.savez(case["arrays"], **arrays)
    return {
        "counts": {name: len(rows) for name, rows in answers.items()},
        "refused": refused,
        "seconds": round(time.monotonic() - began, 2),
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def _in_child(case: dict[str, Any], reply_to: Path) -> dict[str, Any]:
    """Fork, answer one case there, and read what the child left."""
    reply_to.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        try:
            reply_to.write_text(json.dumps(_answer(case)), encoding="utf-8")
        finally:
            sys.stderr.flush()
            os._exit(0)  # without the interpreter's farewell: vLLM's threads are still there
    _, status = os.waitpid(child, 0)
    if not reply_to.exists():
        return {"died": f"the engine's process ended with status {status}"}
    reply: dict[str, Any] = json.loads(reply_to.read_text("utf-8"))
    reply_to.unlink()
    return reply


def main() -> None:
    """Answer lines until there are no more."""
    # vLLM writes to standard output as it likes: keep the real one for replies, send its own to the log.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    import vllm
    import vllm.v1.worker.cpu_worker
    from vllm import LLM  # noqa: F401  (slow, and lazy: loaded here, no child has to)
    from vllm.model_executor.models import registry

    # vLLM looks at a class in a fresh interpreter, to keep CUDA out of this one; a child has no need of that.
    registry._run_in_subprocess = lambda look: look()
    replies.write(json.dumps({"vllm": vllm.__version__}) + "\n")
    replies.flush()
    for line in sys.stdin:
        case = json.loads(line)
        replies.write(json.dumps(_in_child(case, Path(case["arrays"]).with_suffix(".json"))) + "\n")
        replies.flush()


if __name__ == "__main__":
    main()
