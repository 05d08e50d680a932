"""Chats and images in requests: `messages` of every route that takes them, and what the flags allow."""

from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoTokenizer

from pool_export.runtime.errors import InputError
from pool_export.runtime.llm import LLM
from pool_export.runtime.options import from_env
from pool_export.runtime.server.config import ServerConfig

Image = pytest.importorskip("PIL.Image")

TEMPLATE = """{% for message in messages %}<|{{ message.role }}|>{{ message.content }}{{ eos_token }}{% endfor %}
{% if add_generation_prompt %}<|assistant|>{% endif %}{{ tail }}"""
CHAT = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hi there"}]
OTHER = [{"role": "user", "content": [{"type": "text", "text": "One"}, {"type": "text", "text": "two"}]}]


@pytest.fixture(scope="module")
def chat_bundle(served_bundles: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a language model's bundle with a chat template."""
    folder = Path(shutil.copytree(served_bundles["matryoshka"], tmp_path_factory.mktemp("chat") / "bundle"))
    (folder / "chat_template.jinja").write_text(TEMPLATE, "utf-8")
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with images."""
    folder = tmp_path_factory.mktemp("pictures")
    noise = np.random.default_rng(5).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "noise.png")
    Image.new("RGB", (9, 33), (250, 40, 10)).save(folder / "red.jpg")
    return folder


@pytest.fixture(scope="module")
def clip_bundle(vision_bundle: Callable[[str], Path]) -> Path:
    return vision_bundle("clip")


@pytest.fixture(scope="module")
def app(open_app: Any, chat_bundle: Path, clip_bundle: Path, pictures: Path) -> Any:
    return open_app(f"chat={chat_bundle}", f"clip={clip_bundle}", allowed_local_media_path=str(pictures))


def vectors(response: Any) -> np.ndarray:
    assert response.status_code == 200, response.text
    return np.array([item.get("embedding", item.get("data")) for item in response.json()["data"]], np.float32)


def rendered(folder: Path, chat: list[dict[str, Any]], **options: Any) -> list[int]:
    """Tokens of a chat, by transformers."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    plain = [{**m, "content": m["content"] if isinstance(m["content"], str) else "One\ntwo"} for m in chat]
    text = tokenizer.apply_chat_template(plain, tokenize=False, **options)
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


# --------------------------------------------------------------------------------------------------------------- chats


@pytest.mark.parametrize("route", ["/v1/embeddings", "/pooling"])
def test_a_chat_is_rendered_by_the_models_template(app: Any, chat_bundle: Path, route: str):
    ids = [rendered(chat_bundle, chat) for chat in (CHAT, OTHER)]
    want = np.array([output.outputs.data for output in LLM(chat_bundle, device="cpu").embed(ids, use_tqdm=False)])
    one = app.post(route, json={"messages": CHAT, "model": "chat"})
    assert np.abs(vectors(one) - want[:1]).max() < 1e-6
    assert one.json()["usage"]["prompt_tokens"] == len(ids[0])
    for form in ("messages", "input"):
        assert np.abs(vectors(app.post(route, json={form: [CHAT, OTHER], "model": "chat"})) - want).max() < 1e-6
    assert np.abs(vectors(app.post(route, json={"input": CHAT, "model": "chat"})) - want[:1]).max() < 1e-6


def test_the_switches_of_a_chat_reach_the_template(app: Any, chat_bundle: Path):
    def tokens(**options: Any) -> list[int]:
        response = app.post("/tokenize", json={"messages": CHAT, "model": "chat", **options})
        assert response.status_code == 200, response.text
        found: list[int] = response.json()["tokens"]
        return found

    assert tokens() == rendered(chat_bundle, CHAT, add_generation_prompt=True)
    assert tokens(add_generation_prompt=False) == rendered(chat_bundle, CHAT)
    options = {"add_generation_prompt": False, "continue_final_message": True}
    assert tokens(**options) == rendered(chat_bundle, CHAT, **options)
    asked = tokens(chat_template_kwargs={"tail": "the end"})
    assert asked == rendered(chat_bundle, CHAT, add_generation_prompt=True, tail="the end")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"continue_final_message": True, "add_generation_prompt": True}, "Cannot set both"),
        ({"chat_template_kwargs": {"tools": []}}, "chat_template_kwargs contains reserved keys: tools"),
        ({"chat_template_kwargs": {"tool": []}}, "the chat template reads no 'tool'"),
        ({"chat_template": "{{ 1 }}"}, "--trust-request-chat-template is not set"),
        ({"prompt": "query: "}, "prompt and prompt_name go before the texts of `input`"),
        ({"messages": [CHAT, []]}, r"messages[1] must be a list of at least one message, got []"),
    ],
)
def test_what_a_chat_cannot_have_is_named(app: Any, body: dict[str, Any], message: str):
    response = app.post("/v1/embeddings", json={"messages": CHAT, "model": "chat", **body})
    assert response.status_code == 400
    assert message in response.json()["message"]


def test_too_many_chats_are_refused(app: Any):
    response = app.post("/v1/embeddings", json={"messages": [CHAT] * 2049, "model": "chat"})
    assert response.status_code == 422
    assert "messages holds 2049 items" in response.json()["message"]


def test_the_servers_template_and_the_requests(open_app: Any, minilm_bundle: Path, tmp_path: Path):
    path = tmp_path / "chat.jinja"
    path.write_text("{{ cls_token }} {{ messages[0].content }} {{ sep_token }}", "utf-8")
    app = open_app(f"minilm={minilm_bundle}", chat_template=str(path), trust_request_chat_template=True)
    want = vectors(app.post("/v1/embeddings", json={"input": "Hi there"}))
    chat = [{"role": "user", "content": "Hi there"}]
    assert np.abs(vectors(app.post("/v1/embeddings", json={"messages": chat})) - want).max() < 1e-6
    own = {"messages": chat, "chat_template": "there {{ messages[0].role }}", "add_special_tokens": True}
    want = vectors(app.post("/v1/embeddings", json={"input": "there user"}))
    assert np.abs(vectors(app.post("/v1/embeddings", json=own)) - want).max() < 1e-6
    path.write_text("{% if %}", "utf-8")
    with pytest.raises(InputError, match="the chat template is not valid jinja"):
        open_app(f"minilm={minilm_bundle}", chat_template=str(path))
    with pytest.raises(InputError, match=r"chat_template .*none.jinja cannot be read"):
        open_app(f"minilm={minilm_bundle}", chat_template=str(tmp_path / "none.jinja"))


@pytest.mark.parametrize(("text", "value"), [("true", True), ("1", True), ("Off", False), ("0", False)])
def test_the_switch_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch, text: str, value: bool):
    monkeypatch.setenv("POOL_EXPORT_TRUST_REQUEST_CHAT_TEMPLATE", text)
    assert from_env(ServerConfig).trust_request_chat_template is value


def test_a_switch_that_is_neither_on_nor_off_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("POOL_EXPORT_TRUST_REQUEST_CHAT_TEMPLATE", "maybe")
    with pytest.raises(InputError, match="POOL_EXPORT_TRUST_REQUEST_CHAT_TEMPLATE='maybe' cannot be read"):
        from_env(ServerConfig)


# -------------------------------------------------------------------------------------------------------------- images


def picture(url: str, *more: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}, *more]}]


def data_url(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


def test_images_are_answered_as_offline(app: Any, clip_bundle: Path, pictures: Path):
    paths = [pictures / "noise.png", pictures / "red.jpg"]
    prompts = [{"prompt": "", "multi_modal_data": {"image": path}} for path in paths]
    want = np.array([output.outputs.data for output in LLM(clip_bundle, device="cpu").embed(prompts, use_tqdm=False)])
    chats = [picture(data_url(paths[0].read_bytes())), picture(f"file://{paths[1]}")]
    response = app.post("/v1/embeddings", json={"messages": chats, "model": "clip"})
    assert np.abs(vectors(response) - want).max() < 1e-6
    assert response.json()["usage"]["prompt_tokens"] == 2
    assert np.abs(want[0] - want[1]).max() > 1e-3


def test_the_text_of_a_chat_is_embedded_as_text(app: Any):
    chat = [{"role": "user", "content": "a red picture"}]
    want = vectors(app.post("/v1/embeddings", json={"input": "a red picture", "model": "clip"}))
    assert np.abs(vectors(app.post("/v1/embeddings", json={"messages": chat, "model": "clip"})) - want).max() < 1e-6


def wide() -> bytes:
    stream = io.BytesIO()
    Image.new("1", (60_000, 2000)).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("messages", "status", "message"),
    [
        (
            lambda: picture("data:,x", {"type": "text", "text": "what?"}),
            400,
            "text-only or image-only inputs, not both",
        ),
        (
            lambda: picture("data:,x") + picture("data:,y"),
            400,
            "At most 1 image(s) may be provided in one prompt, got 2",
        ),
        (lambda: picture("data:,no image"), 400, "an image cannot be read: its 8 bytes are none of PNG, JPEG"),
        (lambda: picture(data_url(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")), 400, "are none of PNG"),
        (lambda: picture(data_url(wide()[:-99])), 400, "has 60000 × 2000 pixels, more than"),
        (lambda: picture("https://images.example/x.png"), 400, "this server fetches no URLs"),
        (lambda: picture("file:///etc/hostname"), 400, "the file lies outside the folder"),
    ],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_an_image_that_cannot_be_served_is_named(app: Any, messages: Any, status: int, message: str):
    response = app.post("/v1/embeddings", json={"messages": messages(), "model": "clip"})
    assert (response.status_code, response.json()["code"]) == (status, status)
    assert message in response.json()["message"]
    assert app.get("/ready").status_code == 200


def test_an_image_that_is_gone_is_422(app: Any, pictures: Path):
    response = app.post("/v1/embeddings", json={"messages": picture(f"file://{pictures}/none.png"), "model": "clip"})
    assert response.status_code == 422
    assert response.json()["type"] == "UnprocessableEntityError"
    response = app.post("/tokenize", json={"messages": picture(f"file://{pictures}/red.jpg"), "model": "clip"})
    assert "holds an image (image_url), which has no tokens" in response.json()["message"]
