"""Chat templates against transformers' own rendering, and what they refuse."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from pool_export.runtime.chat import read_conversation
from pool_export.runtime.chat_template import ChatTemplate, read_chat_template
from pool_export.runtime.errors import BundleError, InputError

CHATML = """{% for message in messages %}
{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}
{% endfor %}
{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"""
LLAMA = """{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set rest = messages[1:] %}
{% set system = '<<SYS>>' + messages[0]['content'] + '<</SYS>>' %}{% else %}{% set rest = messages %}
{% set system = '' %}{% endif %}{% for message in rest %}
{% if message['role'] == 'user' %}
{{ '[INST] ' + (system if loop.first else '') + message['content'].strip() + ' [/INST]' }}
{% elif message['role'] == 'assistant' %}
{% generation %}{{ ' ' + message['content'] | trim + ' ' + eos_token }}{% endgeneration %}
{% else %}{{ raise_exception('only user and assistant, not ' + message.role) }}{% endif %}{% endfor %}"""
TOOLS = """{#- content -#}{%- if tools %}TOOLS{% endif -%}{%- set ns = namespace(found=false) -%}
{%- for message in messages -%}{%- if message.role == 'user' %}{% set ns.found = true %}{% endif -%}
[{{ message | tojson }}]{%- if loop.index > 5 %}{% break %}{% endif -%}{%- endfor -%}
{{ ns.found }} {{ date_string | default('today') }}{{ pad_token }}"""
TEMPLATES = {"chatml": CHATML, "llama": LLAMA, "tools": TOOLS}
CHATS: dict[str, list[dict[str, Any]]] = {
    "one": [{"role": "user", "content": " What is <pooling>? é\n"}],
    "turns": [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "Hi", "name": None},
        {"role": "assistant", "content": "Hello there. "},
        {"role": "user", "content": "And now?"},
    ],
    "open": [{"role": "user", "content": "Count."}, {"role": "assistant", "content": "One, two, "}],
}
TOKENS = {"bos_token": "[CLS]", "eos_token": "[SEP]", "pad_token": "[PAD]"}


@pytest.fixture(scope="module")
def reference(tiny_bundle: Any) -> PreTrainedTokenizerFast:
    """Return transformers' tokenizer with special tokens of our choice."""
    return PreTrainedTokenizerFast(tokenizer_file=str(tiny_bundle("bert", "sequence_1") / "tokenizer.json"), **TOKENS)


@pytest.mark.parametrize("switch", ["plain", "generate", "continue"])
@pytest.mark.parametrize("chat", CHATS)
@pytest.mark.parametrize("name", TEMPLATES)
def test_renders_what_transformers_renders(reference: Any, name: str, chat: str, switch: str):
    switches = {"add_generation_prompt": switch == "generate", "continue_final_message": switch == "continue"}
    values = {"date_string": "26 Jul"} if name == "tools" else {}
    conversation = read_conversation(CHATS[chat])
    want = reference.apply_chat_template(
        CHATS[chat], chat_template=TEMPLATES[name], tokenize=False, **switches, **values
    )
    assert ChatTemplate(TEMPLATES[name], TOKENS).render(conversation, **switches, values=values) == want


def test_a_template_that_loops_over_parts_gets_parts(reference: Any):
    text = """{% for message in messages %}{% set content = message['content'] %}{{ message.role }}:
{%- for part in content if part.type == 'text' %} {{ part['text'] }}{% endfor %};{% endfor %}"""
    asked = [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]
    want = reference.apply_chat_template(asked, chat_template=text, tokenize=False)
    assert want == "user: Hi;"
    for content in ("Hi", asked[0]["content"]):
        assert ChatTemplate(text).render(read_conversation([{"role": "user", "content": content}])) == want


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (CHATML, {"add_generation_prompt": True, "continue_final_message": True}, "Cannot set both"),
        (CHATML, {"values": {"tools": []}}, "chat_template_kwargs contains reserved keys: tools"),
        (CHATML, {"values": {"add_generation_prompt": 1}}, "reserved keys: add_generation_prompt"),
        (CHATML, {"values": {"enable_thinking": False}}, "the chat template reads no 'enable_thinking'"),
        ("{% for %}", {}, "the chat template is not valid jinja"),
        ("{{ raise_exception('no ' + messages[0].role) }}", {}, "the chat template failed: no user"),
        ("{{ messages.__class__.__mro__ }}", {}, "the chat template failed: access to attribute '__class__'"),
        ("fixed", {"continue_final_message": True}, "drops a part of the final message"),
    ],
)
def test_what_cannot_be_rendered_is_named(text: str, options: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        ChatTemplate(text).render(read_conversation(CHATS["one"]), **options)


def test_there_has_to_be_something_to_continue():
    chat = read_conversation([{"role": "assistant", "tool_calls": []}])
    with pytest.raises(InputError, match="continue_final_message needs a final message with text"):
        ChatTemplate(CHATML).render(chat, continue_final_message=True)


# --------------------------------------------------------------------------------------------------- out of a bundle


def write(folder: Path, name: str, content: Any) -> None:
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")


def test_the_files_of_a_bundle_in_transformers_order(tmp_path: Path):
    assert read_chat_template(tmp_path) is None
    write(tmp_path, "chat_template.json", {"chat_template": "processor"})
    assert read_chat_template(tmp_path) == ChatTemplate("processor")
    several = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "default"}]
    write(tmp_path, "tokenizer_config.json", {"chat_template": several, "add_bos_token": True, "bos_token": "<b>"})
    assert read_chat_template(tmp_path) == ChatTemplate("default", {"bos_token": "<b>"})
    write(tmp_path, "chat_template.jinja", "file")
    tokens = {"bos_token": {"content": "<s>", "lstrip": False}, "eos_token": "</s>", "additional": ["x"]}
    write(tmp_path, "special_tokens_map.json", tokens)
    assert read_chat_template(tmp_path) == ChatTemplate("file", {"bos_token": "<s>", "eos_token": "</s>"})


def test_image_text_models_have_a_plain_one(tmp_path: Path):
    template = read_chat_template(tmp_path, has_images=True)
    assert template is not None
    assert template.is_plain
    assert template.render(read_conversation(CHATS["open"])) == "Count.One, two, "


def test_a_damaged_file_is_named(tmp_path: Path):
    write(tmp_path, "tokenizer_config.json", "{")
    with pytest.raises(BundleError, match=r"tokenizer_config.json cannot be read"):
        read_chat_template(tmp_path)


def test_an_export_ships_the_checkpoints_template(tiny_folder: Any, tmp_path: Path):
    from pool_export.export.request import ExportRequest
    from pool_export.export.sidecars import write_tokenizer
    from pool_export.export.source import open_source

    folder = Path(shutil.copytree(tiny_folder("bert"), tmp_path / "checkpoint"))
    config = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    write(folder, "tokenizer_config.json", {**config, "chat_template": CHATML})
    source = open_source(ExportRequest(model=str(folder)))
    write_tokenizer(tmp_path, source, PreTrainedTokenizerFast.from_pretrained(folder), 16)
    found = read_chat_template(tmp_path)
    assert found is not None
    assert found.text == CHATML
    assert found.special_tokens["cls_token"] == "[CLS]"
