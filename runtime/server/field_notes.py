"""What the fields of requests are for, by name (a name means one thing on every route), and a body for every path.

A description at the field's own declaration (``msgspec.Meta``) goes before the note here. The page for people
lists fields in this order. Any model with the path's task answers its example.
"""

from __future__ import annotations

from typing import Any

FIELD_NOTES: dict[str, str] = {
    # what is asked
    "input": "A text, a list of texts, one list of token ids, or a list of such lists.",
    "messages": "A conversation, run as one text by the model's chat template.",
    "inputs": "A text or texts; token ids where the route takes them.",
    "texts": "A list of texts.",
    "images": "Not taken by this route; `/v1/embeddings` takes images as messages.",
    "prompt": "A text; beside `input`, the text that goes before every text.",
    "tokens": "Token ids.",
    "ids": "Token ids, or several lists of them.",
    "query": "The text that the documents are compared with.",
    "documents": "Texts that are ranked.",
    "queries": "One text, or one a document.",
    "items": "Another name of documents.",
    "text_1": "One text, or one a text of text_2.",
    "text_2": "A text or a list of texts.",
    "data_1": "Another name of text_1.",
    "data_2": "Another name of text_2.",
    "source_sentence": "A text.",
    "sentences": "Texts that are compared with the source sentence.",
    "role": "Who speaks: system, user or assistant.",
    "content": "A text, or a list of parts.",
    "type": "Which kind of part this is.",
    "text": "A text.",
    # by which model, as what
    "model": "Name of the model; without it, the first served model that has the route's task.",
    "task": "What to answer; the model's first task by default.",
    "input_type": "Which side of a search the texts are on.",
    "prompt_name": "Which of the checkpoint's prompts goes before every text.",
    "query_prompt_name": "Which of the checkpoint's prompts goes before the query.",
    "document_prompt_name": "Which of the checkpoint's prompts goes before each document.",
    "instruction": "What the score template says a match is, for templates that read it.",
    # what comes back
    "dimensions": "Matryoshka size of the vector, for models trained for it.",
    "output_dimension": "Cohere's name of dimensions.",
    "encoding_format": "Numbers as JSON (float), as base64 of their bytes, or as one body of bytes.",
    "embed_dtype": "Type of each number in base64 and bytes.",
    "endianness": "Byte order in base64 and bytes; native is this server's.",
    "embedding_types": "Forms of the vectors: numbers, packed bits, or base64 of little-endian float32.",
    "use_activation": "Apply the head's last function (normalise, sigmoid, softmax).",
    "normalize": "vLLM 0.11's name of use_activation, for vectors.",
    "activation": "vLLM 0.11's name of use_activation, for classifiers.",
    "raw_scores": "Leave out the head's last function.",
    "top_n": "Answer only this many of the best documents; 0 is all.",
    "return_documents": "Repeat each document beside its score.",
    "return_text": "Repeat each text beside its score.",
    "parameters": "What Hugging Face's hosted inference takes beside the inputs.",
    "top_k": "Answer only this many labels.",
    "function_to_apply": "The last function, in place of the model's own.",
    "return_token_strs": "Answer the tokens as strings, too.",
    "skip_special_tokens": "Leave special tokens out of the text.",
    # lengths
    "truncate_prompt_tokens": "Keep at most this many tokens, special ones included; -1 is the model's limit. "
    "Without it, a longer text is refused.",
    "truncation_side": "The end that truncation cuts; the model's own side by default.",
    "truncate": "What becomes of a longer text: Cohere's NONE, START or END; TEI's true (the default) or false.",
    "truncation_direction": "TEI's name of truncation_side.",
    "max_tokens": "Cut each text to this many tokens; the model's limit by default.",
    "max_tokens_per_query": "Cut the query to this many tokens; 0 is never.",
    "max_tokens_per_doc": "Cut each document to this many tokens; 0 is never.",
    # how texts are read
    "add_special_tokens": "Let the tokenizer add its markers to a text; token ids run as they are.",
    "add_generation_prompt": "Let the template begin an answer.",
    "continue_final_message": "Leave the last message open.",
    "chat_template": "A template of the request's own; refused unless the server was told to trust it.",
    "chat_template_kwargs": "Values for the model's template.",
    # accepted or refused for the sake of clients
    "padding": "Only do_not_pad: answers never depend on padding.",
    "mm_processor_kwargs": "Refused: an image is prepared as the model's own files say.",
    "cache_salt": "Accepted for vLLM's clients and ignored.",
    "user": "Accepted for OpenAI's clients and ignored.",
    "priority": "Accepted for vLLM's clients and ignored.",
    "request_id": "Accepted for vLLM's clients; the header X-Request-Id names a request.",
}

# Bodies of several forms: the fields of which one set has to be given. The first line whose fields a body has is its.
FORMS: tuple[tuple[tuple[str, ...], ...], ...] = (
    (("input",), ("messages",)),
    (("texts",), ("images",), ("inputs",)),
    (("inputs",), ("query", "texts")),
    (("documents",), ("texts",)),
    (("prompt",), ("messages",)),
    (("queries", "documents"), ("queries", "items"), ("data_1", "data_2"), ("text_1", "text_2")),
)

_QUERY, _DOCUMENTS = "What is the capital of France?", ["Paris is the capital of France.", "Berlin is in Germany."]
_RANK = {"query": _QUERY, "documents": _DOCUMENTS}
_SIMILARITY = {"inputs": {"source_sentence": "some text", "sentences": ["another text", "one more"]}}

EXAMPLES: dict[str, Any] = {
    "/v1/embeddings": {"input": ["some text", "another text"]},
    "/pooling": {"input": "some text"},
    "/classify": {"input": ["some text", "another text"]},
    "/tokenize": {"prompt": "some text", "return_token_strs": True},
    "/detokenize": {"tokens": [1, 2, 3]},
    "/score": {"text_1": _QUERY, "text_2": _DOCUMENTS},
    "/v1/score": {"text_1": _QUERY, "text_2": _DOCUMENTS},
    "/rerank": {**_RANK, "top_n": 1},
    "/v1/rerank": _RANK,
    "/v2/rerank": _RANK,
    "/v2/embed": {"texts": ["some text"], "input_type": "search_query", "embedding_types": ["float"]},
    "/": {"inputs": "some text"},
    "/embed": {"inputs": ["some text", "another text"]},
    "/embed_all": {"inputs": "some text"},
    "/embed_sparse": {"inputs": "some text"},
    "/predict": {"inputs": "some text"},
    "/similarity": _SIMILARITY,
    "/decode": {"ids": [1, 2, 3]},
}
