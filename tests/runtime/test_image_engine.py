"""Images and texts in one request, over a pretended image graph that answers an image's mean colour."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from pool_export.poolers.errors import PoolExportError
from pool_export.runtime.bundle import open_bundle, sha256
from pool_export.runtime.errors import BundleError, InputError, RuntimeFailure
from pool_export.runtime.llm import LLM
from pool_export.runtime.params import PoolingParams

Image = pytest.importorskip("PIL.Image")

COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255)]


def picture(colour: tuple[int, int, int]) -> dict[str, Any]:
    return {"prompt": "", "multi_modal_data": {"image": Image.new("RGB", (5, 4), colour)}}


def unit(colour: tuple[int, int, int]) -> np.ndarray:
    return (lambda v: v / np.linalg.norm(v))(vector(colour))


def vector(colour: tuple[int, int, int]) -> np.ndarray:
    return np.array([*colour, 0, 0, 0]) / 255  # as wide as the texts' vectors


class FakeImageSession:
    """The image graph in numpy; `batches` holds the size of every batch of every session."""

    names: tuple[str, ...] = ("sentence_embedding", "image_embeds")
    batches: ClassVar[list[int]] = []
    broken = False

    batch_tokens = 8192

    def __init__(self, bundle: Any, config: Any, graphs: Any) -> None:
        assert list(graphs) == ["fp32"]
        self.output_names = self.names

    def run(self, feeds: dict[str, np.ndarray], outputs: list[str], *, alone: bool) -> dict[str, np.ndarray]:
        pixels = feeds["pixel_values"]
        self.batches.append(len(pixels))
        raw = np.pad(pixels.mean(axis=(2, 3)), ((0, 0), (0, 3)))
        raw = raw * np.nan if self.broken else raw
        answers = {"image_embeds": raw, "sentence_embedding": raw / np.linalg.norm(raw, axis=1, keepdims=True)}
        return {name: answers[name].astype(np.float32) for name in outputs}


def add_tower(folder: Path, edit_json: Any) -> Path:
    graph = folder / "onnx/vision_model.onnx"
    graph.write_bytes(b"an image graph")
    file = {"path": "onnx/vision_model.onnx", "size": graph.stat().st_size, "sha256": sha256(graph)}
    shape = ["batch_size", 6]
    info = {
        "files": [file],
        "opset": 20,
        "inputs": [{"name": "pixel_values", "dtype": "float32", "shape": ["batch_size", 3, 2, 2]}],
        "outputs": [{"name": name, "dtype": "float32", "shape": shape} for name in FakeImageSession.names],
    }
    policy = {"height": 2, "width": 2, "resize_height": 2, "resize_width": 2, "rescale_factor": 1 / 255}
    edit_json(
        folder / "pool_export.json",
        lambda manifest: manifest.update(image={"policy": policy, "graphs": {"fp32": info}, "tokens": 3}),
    )
    edit_json(folder / "pool_export.json", lambda manifest: manifest["source"].update(architecture="CLIPModel"))
    return folder


@pytest.fixture
def clip(fake_llm: Any, fake_bundle: Any, edit_json: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., LLM]:
    """Return `clip(options={...}, **spec)`: an `LLM` with two pretended towers."""
    fake_llm()  # pretends the text graph
    monkeypatch.setattr("pool_export.runtime.image_engine.Session", FakeImageSession)
    monkeypatch.setattr(FakeImageSession, "batches", [])

    def make(options: dict[str, Any] | None = None, **spec: Any) -> LLM:
        return LLM(add_tower(fake_bundle(**spec), edit_json), **(options or {}))

    return make


def test_texts_and_images_come_back_in_the_order_of_the_prompts(clip: Any):
    llm = clip()
    prompts = ["one", picture(COLOURS[0]), [5, 6], picture(COLOURS[1]), {"prompt": "two"}, picture(COLOURS[2])]
    found = llm.embed(prompts, use_tqdm=False)
    alone = [llm.embed(prompt)[0] for prompt in prompts]
    for index, (item, one) in enumerate(zip(found, alone, strict=True)):
        assert item.request_id == str(index)
        np.testing.assert_array_equal(item.outputs.data, one.outputs.data)
        assert item.prompt_token_ids == one.prompt_token_ids
    for index, colour in ((1, 0), (3, 1), (5, 2)):
        np.testing.assert_allclose(found[index].outputs.data, unit(COLOURS[colour]), rtol=1e-6)
        assert found[index].prompt_token_ids == []


def test_batches_keep_the_configured_limits(clip: Any):
    clip({"max_batch_size": 2}).embed([picture(colour) for colour in COLOURS], use_tqdm=False)
    assert FakeImageSession.batches == [2, 2, 1]
    FakeImageSession.batches.clear()
    clip({"max_batch_tokens": 9}).embed([picture(colour) for colour in COLOURS], use_tqdm=False)
    assert FakeImageSession.batches == [3, 2]  # an image weighs 3


def test_a_progress_bar_counts_images_too(clip: Any):
    class Bar:
        done = 0

        def update(self, count: int) -> None:
            self.done += count

        def close(self) -> None:
            pass

    bar = Bar()
    clip().embed(["one", *map(picture, COLOURS)], use_tqdm=lambda **options: bar)
    assert bar.done == 6


def test_normalisation_and_dimensions_are_those_of_texts(clip: Any):
    llm = clip(is_matryoshka=True)
    colour = (255, 102, 51)
    raw = llm.embed(picture(colour), pooling_params=PoolingParams(normalize=False))[0].outputs.data
    np.testing.assert_allclose(raw, vector(colour), rtol=1e-6)
    short = llm.embed(picture(colour), pooling_params=PoolingParams(dimensions=2))[0].outputs.data
    np.testing.assert_allclose(short, vector(colour)[:2] / np.linalg.norm(vector(colour)[:2]), rtol=1e-6)


def test_a_tower_that_does_not_normalise_answers_its_one_output(clip: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(FakeImageSession, "names", ("image_embeds",))
    colour = (255, 102, 51)
    found = clip(use_activation=False).embed(picture(colour))[0].outputs.data
    np.testing.assert_allclose(found, vector(colour), rtol=1e-6)


def test_score_is_the_cosine_of_texts_and_images(clip: Any):
    llm = clip()
    red, green = picture(COLOURS[0]), picture(COLOURS[1])
    scores = [item.outputs.score for item in llm.score(red, [red, green, picture(COLOURS[3])])]
    np.testing.assert_allclose(scores, [1, 0, 0.5**0.5], atol=1e-6)
    (mixed,) = llm.score("one", red)
    text = llm.embed("one")[0].outputs.data
    assert mixed.outputs.score == pytest.approx(float(text @ unit(COLOURS[0])), abs=1e-6)
    assert mixed.request_id == "0_0"
    with pytest.raises(InputError, match="1:1, 1:N or N:N"):
        llm.score([red, green], red)


@pytest.mark.parametrize(
    "prompt",
    [
        {"prompt": "a cat", "multi_modal_data": {"image": np.zeros((2, 2, 3), np.uint8)}},
        {"prompt_token_ids": [5], "multi_modal_data": {"image": np.zeros((2, 2, 3), np.uint8)}},
    ],
)
def test_text_beside_an_image_is_vllms_error(clip: Any, prompt: Any):
    with pytest.raises(InputError, match="CLIP accepts text-only or image-only inputs, not both! You must pass"):
        clip().embed(prompt)


def test_an_image_needs_no_empty_text(clip: Any):
    image = {"multi_modal_data": picture(COLOURS[2])["multi_modal_data"]}
    tokens = {**image, "prompt_token_ids": []}
    for prompt in (image, tokens, {**image, "multi_modal_uuids": {"image": "a"}}):
        np.testing.assert_allclose(clip().embed(prompt)[0].outputs.data, unit(COLOURS[2]), rtol=1e-6)


def test_empty_multi_modal_data_leaves_a_text(clip: Any):
    llm = clip()
    found = llm.embed({"prompt": "one", "multi_modal_data": {}})[0].outputs.data
    np.testing.assert_array_equal(found, llm.embed("one")[0].outputs.data)


def test_a_model_of_texts_refuses_images(fake_llm: Any):
    for call in ("embed", "encode"):
        with pytest.raises(InputError, match="this model takes text only; `multi_modal_data` was given"):
            getattr(fake_llm(), call)(picture(COLOURS[0]))
    with pytest.raises(InputError, match="this model takes text only"):
        fake_llm().score("one", picture(COLOURS[0]))
    with pytest.raises(InputError, match="this model takes text only"):
        fake_llm("classify").classify(picture(COLOURS[0]))
    with pytest.raises(InputError, match="this model takes text only"):
        fake_llm("classify", num_labels=1).score("one", picture(COLOURS[0]))


@pytest.mark.parametrize("task", ["token_embed", "encode"])
def test_tasks_of_tokens_have_no_images(clip: Any, task: Any):
    with pytest.raises(InputError, match=f"task '{task}' takes text; an image is answered by `embed` and `score`"):
        clip().encode(picture(COLOURS[0]), pooling_task=task)


def test_a_number_that_is_not_finite_is_an_error(clip: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(FakeImageSession, "broken", True)
    with pytest.raises(RuntimeFailure, match="not finite"):
        clip().embed(picture(COLOURS[0]))


def test_texts_alone_never_open_the_image_graph(clip: Any):
    llm = clip()
    llm.embed("one")
    assert llm.engine.images._opened is None
    llm.embed(picture(COLOURS[0]))
    opened = llm.engine.images._opened
    llm.embed(picture(COLOURS[1]))
    assert llm.engine.images._opened is opened is not None


# --------------------------------------------------------------------------------------------------- the bundle


def test_the_image_graph_is_checked_like_the_text_graph(fake_bundle: Any, edit_json: Any):
    folder = add_tower(fake_bundle(), edit_json)
    assert open_bundle(folder).verify_hashes() == ["onnx/model.onnx", "onnx/vision_model.onnx"]
    (folder / "onnx/vision_model.onnx").write_bytes(b"an imagE graph")
    with pytest.raises(BundleError, match=r"vision_model.onnx: sha256"):
        open_bundle(folder).verify_hashes()
    (folder / "onnx/vision_model.onnx").write_bytes(b"an")
    with pytest.raises(BundleError, match="truncated or changed"):
        open_bundle(folder)
    (folder / "onnx/vision_model.onnx").unlink()
    with pytest.raises(BundleError, match=r"vision_model.onnx is missing"):
        open_bundle(folder)


@pytest.mark.parametrize(
    "edit",
    [
        lambda image: image["graphs"].clear(),
        lambda image: image["policy"].update(height=0),
        lambda image: image.update(tokens=0),
        lambda image: image["graphs"]["fp32"].update(files=[]),
        lambda image: image["policy"].update(resample="cubic"),
        lambda image: image["graphs"]["fp32"]["files"][0].update(path="../model.onnx"),
    ],
)
def test_an_impossible_tower_is_refused(fake_bundle: Any, edit_json: Any, edit: Any):
    folder = add_tower(fake_bundle(), edit_json)
    edit_json(folder / "pool_export.json", lambda manifest: edit(manifest["image"]))
    with pytest.raises(PoolExportError, match=r"pool_export\.json"):
        open_bundle(folder)


def test_an_output_the_image_graph_lacks_is_named(clip: Any, monkeypatch: pytest.MonkeyPatch):
    images = clip().engine.images
    with pytest.raises(InputError, match="the image graph has no 'last_hidden_state'"):
        images.run([Image.new("RGB", (1, 1))], ["last_hidden_state"])
    monkeypatch.setattr(FakeImageSession, "names", ("other",))
    with pytest.raises(InputError, match=r"no 'sentence_embedding' \(it has other\)"):
        clip().embed(picture(COLOURS[0]))
