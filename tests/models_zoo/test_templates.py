from __future__ import annotations

from pathlib import Path

import pytest

from pool_export.models_zoo.templates import SCORE_TEMPLATES, find_template, score_template
from pool_export.poolers.errors import ConfigError
from pool_export.runtime.templates import ScoreTemplate

QUERY, DOCUMENT, TASK = "what is  a panda?", "A bear.\nIt eats <bamboo> & more.", "Find the animal."

# As the models' authors publish them: model cards of Qwen/Qwen3-Reranker-0.6B, BAAI/bge-reranker-v2-gemma and
# nvidia/llama-nemotron-rerank-1b-v2, and the code of the mxbai-rerank package.
QWEN3 = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
    "<Instruct>: {task}\n<Query>: {query}\n<Document>: {document}"
    "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
)
MXBAI = (
    "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\n{task}query: {query}\ndocument: {document}\n"
    "You are a search relevance expert who evaluates how well documents match search queries. For each query-document "
    "pair, carefully analyze the semantic relationship between them, then provide your binary relevance judgment "
    "(0 for not relevant, 1 for relevant).\nRelevance:<|im_end|>\n<|im_start|>assistant\n"
)
GEMMA = (
    "A: {query}\nB: {document}\nGiven a query A and a passage B, determine whether the passage contains an answer to "
    "the query by providing a prediction of either 'Yes' or 'No'."
)
NEMOTRON = "question:{query} \n \n passage:{document}"
WEB = "Given a web search query, retrieve relevant passages that answer the query"
PUBLISHED = [
    ("qwen3_reranker", {}, QWEN3, WEB),
    ("qwen3_reranker", {"instruction": TASK}, QWEN3, TASK),
    ("qwen3_reranker", {"instruct": TASK}, QWEN3, TASK),
    ("mxbai_rerank_v2", {}, MXBAI, ""),
    ("mxbai_rerank_v2", {"instruction": TASK}, MXBAI, f"instruction: {TASK}\n"),
    ("bge_reranker_v2_gemma", {}, GEMMA, ""),
    ("nemotron_rerank", {}, NEMOTRON, ""),
]


@pytest.mark.parametrize(("name", "values", "published", "task"), PUBLISHED)
def test_a_template_gives_the_published_text_to_the_letter(name: str, values: dict, published: str, task: str):
    rendered = ScoreTemplate(score_template(name)).render(QUERY, DOCUMENT, values)
    assert rendered == published.format(query=QUERY, document=DOCUMENT, task=task)


def test_every_template_is_tested_above():
    assert {name for name, *_ in PUBLISHED} == set(SCORE_TEMPLATES)


@pytest.mark.parametrize(("name", "takes"), [("qwen3_reranker", True), ("mxbai_rerank_v2", True),
                                             ("bge_reranker_v2_gemma", False), ("nemotron_rerank", False)])  # fmt: skip
def test_an_instruction_goes_where_the_format_has_a_place_for_one(name: str, takes: bool):
    assert ("instruction" in ScoreTemplate(score_template(name)).variables) == takes


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match="no score template 'qwen3_rerank'; did you mean 'qwen3_reranker'"):
        score_template("qwen3_rerank")


def test_a_file_holds_a_template_too(tmp_path: Path):
    path = tmp_path / "mine.jinja"
    path.write_text("{{ messages[0].content }}\n", "utf-8")
    assert find_template(str(path)) == "{{ messages[0].content }}\n"
    assert find_template("nemotron_rerank") == score_template("nemotron_rerank")
    with pytest.raises(ConfigError, match="nor is there such a file"):
        find_template(str(tmp_path / "yours.jinja"))
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read as UTF-8 text"):
        find_template(str(path))
