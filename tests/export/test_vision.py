"""CLIP and SigLIP from the checkpoint to the vector, against transformers' own processor and feature methods."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
import transformers
from PIL import Image

from pool_export.export import pipeline, vision_check
from pool_export.export.adapters import AdaptedModel
from pool_export.export.errors import ExportError, ParityError, SourceError
from pool_export.export.pipeline import export_model
from pool_export.export.request import ExportRequest
from pool_export.export.source import open_source
from pool_export.export.vision import VisionTower, check_towers
from pool_export.export.vision_check import TowerReference, generated_images, reference_for, verify_images
from pool_export.models_zoo.texts import hard_texts, sentences
from pool_export.models_zoo.tiny_vision import VISION_FAMILIES
from pool_export.poolers.errors import ConfigError
from pool_export.poolers.resolve import resolve
from pool_export.runtime.bundle import open_bundle
from pool_export.runtime.config import RuntimeConfig
from pool_export.runtime.engine import Engine
from pool_export.runtime.llm import LLM
from pool_export.runtime.params import PoolingParams
from pool_export.runtime.replay import replay

TEXTS = [*hard_texts(), *sentences()[:6]]
BAR = 1e-5


class Towers:
    """A checkpoint in transformers: one unpadded (SigLIP: fully padded) input at a time."""

    def __init__(self, folder: Path) -> None:
        self.model = transformers.AutoModel.from_pretrained(folder).eval()
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self.processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
        self.padding = "max_length" if self.model.config.model_type == "siglip" else False

    def ids(self, text: str) -> list[int]:
        length = self.model.config.text_config.max_position_embeddings
        row: list[int] = self.tokenizer(text, padding=self.padding, truncation=True, max_length=length)["input_ids"]
        return row

    def text(self, text: str) -> np.ndarray:
        with torch.inference_mode():
            answer = self.model.get_text_features(input_ids=torch.tensor([self.ids(text)]))
        return answer.pooler_output[0].numpy()

    def image(self, image: Any) -> np.ndarray:
        pixels = self.processor(image, return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            return self.model.get_image_features(pixel_values=pixels).pooler_output[0].numpy()


@pytest.fixture(scope="module", params=["clip", "siglip", pytest.param("siglip2", marks=pytest.mark.slow)])
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def towers(vision_folder: Any) -> Callable[[str], Towers]:
    made: dict[str, Towers] = {}
    return lambda name: made.setdefault(name, Towers(vision_folder(name)))


def prompt(image: Any) -> dict[str, Any]:
    return {"prompt": "", "multi_modal_data": {"image": image}}


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def images_for(name: str) -> list[Image.Image]:
    return generated_images(rgb_only=name == "siglip2")


def data(outputs: Sequence[Any]) -> list[np.ndarray]:
    return [item.outputs.data for item in outputs]


# ------------------------------------------------------------------------------------------- the finished bundle


def test_texts_and_images_are_those_of_transformers(family: str, vision_bundle: Any, open_llm: Any, towers: Any):
    llm, theirs = open_llm(vision_bundle(family)), towers(family)
    images = images_for(family)
    texts = [text for text in TEXTS if theirs.tokenizer(text)["input_ids"]]
    prompts = [*texts, *map(prompt, images)]
    found = data(llm.embed(prompts, truncate_prompt_tokens=-1, use_tqdm=False))
    wanted = [*map(theirs.text, texts), *map(theirs.image, images)]
    for got, want in zip(found, wanted, strict=True):
        np.testing.assert_allclose(got, unit(want), atol=BAR)
    raw = PoolingParams(normalize=False)
    found = data(llm.embed(prompts, truncate_prompt_tokens=-1, pooling_params=raw, use_tqdm=False))
    for got, want in zip(found, wanted, strict=True):
        np.testing.assert_allclose(got, want, atol=BAR, rtol=BAR)


def test_an_input_does_not_depend_on_its_neighbours(family: str, vision_bundle: Any, open_llm: Any):
    llm = open_llm(vision_bundle(family))
    prompts = [*map(prompt, images_for(family)[:4]), *sentences()[:4]]
    together = data(llm.embed(prompts[::-1], truncate_prompt_tokens=-1, use_tqdm=False))[::-1]
    for got, one in zip(together, prompts, strict=True):
        alone = llm.embed(one, truncate_prompt_tokens=-1)[0].outputs.data
        np.testing.assert_allclose(got, alone, atol=1e-6)


def test_scores_are_the_cosines_of_the_models_own_forward(family: str, vision_bundle: Any, open_llm: Any, towers: Any):
    llm, theirs = open_llm(vision_bundle(family)), towers(family)
    image, texts = images_for(family)[0], sentences()[:3]
    scores = [item.outputs.score for item in llm.score(prompt(image), texts, truncate_prompt_tokens=-1, use_tqdm=False)]
    cosines = [float(unit(theirs.image(image)) @ unit(theirs.text(text))) for text in texts]
    np.testing.assert_allclose(scores, cosines, atol=BAR)


def test_the_bundle_tells_what_it_holds(family: str, vision_bundle: Any):
    folder = vision_bundle(family)
    manifest = open_bundle(folder).manifest
    assert manifest.tasks == ("embed", "score", "token_embed", "encode")
    assert manifest.pooling.pooling == ("LAST",)
    assert manifest.tokenizer.pad_to_max_length == (family != "clip")
    (graph,) = manifest.image.graphs.values()  # type: ignore[union-attr]
    assert graph.files[0].path == "onnx/vision_model.onnx"
    assert graph.parity["passed"]
    assert graph.parity["pixels_max_abs"] == 0
    assert [item.shape for item in graph.inputs] == [("batch_size", 3, 32, 32)]
    assert [item.name for item in graph.outputs] == ["sentence_embedding", "image_embeds"]
    assert not (folder / "modules.json").exists()
    assert "vision_model.onnx" in (folder / "README.md").read_text("utf-8")
    session = onnxruntime.InferenceSession(folder / "onnx/vision_model.onnx")
    assert session.get_modelmeta().custom_metadata_map["pool_export.architecture"] == manifest.source.architecture
    assert str(Path.home()) not in (folder / "onnx/vision_model.onnx").read_bytes().decode("latin-1")


def test_the_preprocessor_file_is_read_by_transformers(family: str, vision_bundle: Any, towers: Any):
    again = transformers.AutoImageProcessor.from_pretrained(vision_bundle(family), backend="pil")
    image = generated_images()[0]
    pixels = [one(image, return_tensors="np")["pixel_values"] for one in (again, towers(family).processor)]
    np.testing.assert_array_equal(*pixels)


def test_golden_images_are_replayed_and_a_wrong_one_found(vision_bundle: Any, tmp_path: Path):
    folder = Path(shutil.copytree(vision_bundle("clip"), tmp_path / "copy"))
    golden = json.loads((folder / "golden.json").read_text("utf-8"))
    assert [set(item) for item in golden["images"]] == [{"png", "outputs"}] * 4
    engine = Engine(open_bundle(folder), RuntimeConfig(device="cpu"))
    assert replay(engine).failures == []
    assert replay(engine).cases == len(golden["cases"]) + 4
    golden["images"][1]["outputs"]["sentence_embedding"][0] += 0.01
    (folder / "golden.json").write_text(json.dumps(golden), "utf-8")
    (failure,) = replay(engine).failures
    assert failure.startswith("image 1: sentence_embedding differs by")


def test_siglips_text_is_padded_and_padding_is_seen(vision_bundle: Any, open_llm: Any, towers: Any):
    llm, theirs = open_llm(vision_bundle("siglip")), towers("siglip")
    (output,) = llm.embed("a cat")
    assert output.prompt_token_ids == theirs.ids("a cat")
    assert len(output.prompt_token_ids) == 64
    short = [token for token in output.prompt_token_ids if token != 1]
    (unpadded,) = llm.embed(short)  # token ids run as they are
    assert np.abs(unpadded.outputs.data - output.outputs.data).max() > 0.01


def test_clip_pools_the_first_end_token_and_the_last_token_without_one(vision_bundle: Any, open_llm: Any, towers: Any):
    llm, theirs = open_llm(vision_bundle("clip")), towers("clip")
    end = theirs.tokenizer.eos_token_id
    head, tail = theirs.ids("a cat"), theirs.ids("and a dog")
    (twice,), (once,) = llm.embed(head + tail), llm.embed(head)
    assert head[-1] == tail[-1] == end
    np.testing.assert_allclose(twice.outputs.data, once.outputs.data, atol=1e-6)
    with torch.inference_mode():
        states = theirs.model.text_model(input_ids=torch.tensor([head[:-1]])).last_hidden_state[0, -1]
        last = theirs.model.text_projection(states).numpy()
    np.testing.assert_allclose(llm.embed(head[:-1])[0].outputs.data, unit(last), atol=BAR)


def test_a_config_with_the_old_end_token_is_the_same_model(vision_folder: Any, towers: Any):
    old = Towers(vision_folder("clip", legacy_end=True))
    assert old.model.config.text_config.eos_token_id == 2
    source = open_source(ExportRequest(model=str(vision_folder("clip", legacy_end=True))))
    spec = resolve(source.files)
    module = pipeline.adapt(source, old.model, spec)
    for text in TEXTS:
        ids = torch.tensor([old.ids(text)])
        with torch.inference_mode():
            found = module(ids, torch.ones_like(ids))["unnormalized_embedding"][0].numpy()
        np.testing.assert_allclose(found, old.text(text), atol=BAR)


# ------------------------------------------------------------------------------------------ sentence-transformers


def test_sentence_transformers_clip_module_answers_the_same(vision_folder: Any, tmp_path: Path):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    folder = tmp_path / "clip-ViT-B-32"
    shutil.copytree(vision_folder("clip"), folder / "0_CLIPModel")
    entry = {"idx": 0, "name": "0", "path": "0_CLIPModel", "type": "sentence_transformers.models.CLIPModel"}
    (folder / "modules.json").write_text(json.dumps([entry]), "utf-8")
    result = export_model(ExportRequest(model=str(folder), output=tmp_path / "bundle"))
    assert result.manifest.pooling.use_activation is False
    assert result.manifest.pooling.sources["use_activation"] == "sentence_transformers"
    (graph,) = result.manifest.image.graphs.values()  # type: ignore[union-attr]
    assert [item.name for item in graph.outputs] == ["image_embeds"]
    theirs, llm = sentence_transformers.SentenceTransformer(str(folder), device="cpu"), LLM(tmp_path / "bundle")
    texts, images = sentences()[:4], generated_images()[:4]
    found = data(llm.embed([*texts, *map(prompt, images)], truncate_prompt_tokens=-1, use_tqdm=False))
    wanted = [*theirs.encode(texts), *theirs.encode(images)]
    for got, want in zip(found, wanted, strict=True):
        np.testing.assert_allclose(got, want, atol=BAR, rtol=BAR)


# -------------------------------------------------------------------------------------------------- planted faults


@pytest.fixture
def gate(vision_bundle: Any, vision_folder: Any, tmp_path: Path) -> Callable[..., Any]:
    """Return `gate(policy={...}, change=...)`: run the images' gate on a bundle and a model with a fault."""

    def run(change: Callable[[Any], None] = lambda model: None, **policy: Any) -> Any:
        folder = Path(shutil.copytree(vision_bundle("clip"), tmp_path / "copy"))
        source = open_source(ExportRequest(model=str(vision_folder("clip"))))
        model = transformers.AutoModel.from_pretrained(vision_folder("clip")).eval()
        with torch.no_grad():
            change(model)
        bundle = open_bundle(folder)
        image = dataclasses.replace(
            bundle.manifest.image, policy=dataclasses.replace(bundle.manifest.image.policy, **policy)
        )
        bundle = dataclasses.replace(bundle, manifest=dataclasses.replace(bundle.manifest, image=image))
        reference = reference_for(source, model, bundle.manifest.pooling)
        assert isinstance(reference, TowerReference)
        engine = Engine(bundle, RuntimeConfig(device="cpu"))
        return verify_images(folder, bundle.manifest, reference, engine, allow_mismatch=False)

    return run


def test_the_gate_passes_what_is_right(gate: Any):
    assert gate().image.graphs["fp32"].parity["passed"]


@pytest.mark.parametrize(
    "fault",
    [
        {"resample": "bilinear"},
        {"mean": (0.5, 0.5, 0.5)},
        {"rescale_factor": 1 / 256},
        {"resize": "exact"},
        {"convert_rgb": True, "std": (0.26862954, 0.26130258, 0.2758)},
    ],
)
def test_a_fault_in_the_preprocessing_fails(gate: Any, fault: dict[str, Any]):
    with pytest.raises(ParityError, match="pixel_values max-abs"):
        gate(**fault)


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.visual_projection.weight.mul_(1.01),
        lambda model: model.vision_model.embeddings.class_embedding.mul_(1.1),
        lambda model: model.vision_model.embeddings.position_embedding.weight.copy_(
            model.vision_model.embeddings.position_embedding.weight.flip(0)
        ),
    ],
)
def test_a_graph_that_is_not_the_models_fails(gate: Any, change: Any):
    with pytest.raises(ParityError, match=r"the image tower disagrees with the reference: .*unnormalized_embedding"):
        gate(change)


def test_an_image_tower_that_answers_nan_is_refused(gate: Any):
    with pytest.raises(ParityError, match="the image tower itself, in torch, answers NaN"):
        gate(lambda model: model.visual_projection.weight.fill_(float("nan")))


def test_pooling_past_the_first_end_token_fails_the_export(
    vision_folder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leftovers: Any
):
    monkeypatch.setattr(AdaptedModel, "_pooled", lambda self, ids, mask: mask)
    monkeypatch.setattr(pipeline, "add_image_tower", lambda folder, source, model, manifest, *rest: manifest)
    with pytest.raises(ParityError, match="sentence_embedding"):
        export_model(ExportRequest(model=str(vision_folder("clip")), output=tmp_path / "bundle"))
    assert leftovers() == []


def test_a_text_that_is_not_padded_fails_the_export(
    vision_folder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leftovers: Any
):
    monkeypatch.setattr("pool_export.runtime.tokens.TextTokenizer._padded", lambda self, item: item)
    monkeypatch.setattr(pipeline, "add_image_tower", lambda folder, source, model, manifest, *rest: manifest)
    with pytest.raises(ExportError, match="gives other input_ids than SiglipTokenizer"):
        export_model(ExportRequest(model=str(vision_folder("siglip")), output=tmp_path / "bundle"))
    assert leftovers() == []


# -------------------------------------------------------------------------------------------------------- refusals


@pytest.fixture
def copy(vision_folder: Any, tmp_path: Path) -> Callable[..., Path]:
    """Return `copy(family, **config)`: a checkpoint with other values in its config.json."""

    def make(name: str, **changes: Any) -> Path:
        folder = Path(shutil.copytree(vision_folder(name), tmp_path / "model"))
        config = json.loads((folder / "config.json").read_text("utf-8"))
        for key, value in changes.items():
            config[key] = {**config[key], **value} if isinstance(value, dict) else value
        (folder / "config.json").write_text(json.dumps(config), "utf-8")
        return folder

    return make


def refused(folder: Path, error: type[Exception], message: str, **options: Any) -> None:
    with pytest.raises(error, match=message):
        export_model(ExportRequest(model=str(folder), output=folder.with_name("bundle"), **options))
    assert not folder.with_name("bundle").exists()


def test_texts_cannot_be_made_shorter_than_siglip_pads_them(vision_folder: Any, copy: Any):
    refused(copy("siglip2"), ExportError, "SigLIP pads every text to 64 tokens, the limit is 32", max_model_len=32)


def test_a_tokenizer_that_ends_texts_otherwise_is_refused(copy: Any):
    message = r"the text tower pools token 5, but the tokenizer ends texts with \d+"
    refused(copy("clip", text_config={"eos_token_id": 5}), ExportError, message)


def test_a_checkpoint_without_a_processor_is_refused(copy: Any, monkeypatch: pytest.MonkeyPatch):
    folder = copy("clip")
    (folder / "preprocessor_config.json").unlink()
    monkeypatch.setattr(pipeline, "trace", lambda *args, **options: pytest.fail("traced before it was refused"))
    refused(folder, SourceError, "no usable preprocessor_config")


def test_missing_weights_are_refused(copy: Any):
    from safetensors.torch import load_file, save_file

    folder = copy("clip")
    weights = load_file(folder / "model.safetensors")
    del weights["visual_projection.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    refused(folder, SourceError, r"1 weight\(s\) are not in the checkpoint \(visual_projection.weight\)")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"convert": "classify"}, "CLIPModel embeds texts and images; expected --convert embed, got classify"),
        ({"pooler_config": {"pooling_type": "MEAN"}}, "CLIPModel pools by itself; pooling_type MEAN cannot be chosen"),
    ],
)
def test_what_two_towers_do_not_have_is_refused(copy: Any, options: dict[str, Any], message: str):
    refused(copy("clip"), ConfigError, message, **options)


def test_towers_of_two_widths_are_refused():
    vision = SimpleNamespace(config=SimpleNamespace(hidden_size=24, vision_use_head=True))
    spec = SimpleNamespace(use_activation=True, embedding_size=40)
    with pytest.raises(ExportError, match="images embed to 24 numbers and texts to 40"):
        VisionTower(_Model(vision), spec)  # type: ignore[arg-type]
    vision.config.vision_use_head = False
    with pytest.raises(ExportError, match="vision_use_head is false"):
        VisionTower(_Model(vision), spec)  # type: ignore[arg-type]


class _Model:
    def __init__(self, vision: Any) -> None:
        self.vision_model = torch.nn.Module()
        self.vision_model.config = vision.config


def test_a_model_of_texts_is_not_looked_at(tiny_folder: Any):
    source = open_source(ExportRequest(model=str(tiny_folder("bert", layers=1))))
    check_towers(source, None, None, 1)  # type: ignore[arg-type]
    assert type(reference_for(source, None, None)) is vision_check.Reference  # type: ignore[arg-type]


def test_every_family_is_tried_here(family: str):
    assert family in VISION_FAMILIES
