"""The parity gate of image-text models: both towers against transformers' own feature methods.

Images are generated, of many sizes and modes, and go through the runtime from the picture on: its preprocessing is
compared with the checkpoint's own processor, its answers with ``get_image_features`` on one image at a time.
"""

from __future__ import annotations

import base64
import dataclasses
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from ..poolers.image_text import IMAGE_TEXT
from ..poolers.spec import PoolingSpec
from ..runtime.bars import BARS
from ..runtime.engine import Engine
from ..runtime.errors import RuntimeFailure
from ..runtime.images import pixel_values, require_pillow
from ..runtime.manifest import GOLDEN_NAME, ImageTower, Manifest
from ..runtime.tokens import Encoded
from .errors import ParityError
from .quiet import quiet
from .reference import Reference
from .source import Source
from .tower_config import end_token, load_processor
from .verify import compare, judge

if TYPE_CHECKING:
    from PIL import Image

Array = np.ndarray

# Wide, tall, tiny, and larger than any tower.
_SIZES = ((64, 48), (48, 64), (1, 1), (3, 5), (17, 200), (640, 427), (224, 224), (33, 32))
_MODES = ("RGB", "L", "RGBA", "P", "CMYK", "1", "LA", "I;16")
_PIXEL_BAR = 1e-6
_GOLDEN_IMAGES = 4


def generated_images(rgb_only: bool = False) -> list[Image.Image]:
    """Pictures of gradients and noise, the same ones every time; every size, every mode."""
    pictures = [_picture(seed, size, "RGB") for seed, size in enumerate(_SIZES)]
    if rgb_only:
        return pictures
    return pictures + [_picture(100 + seed, (40, 30), mode) for seed, mode in enumerate(_MODES[1:])]


def _picture(seed: int, size: tuple[int, int], mode: str) -> Any:
    module = require_pillow("the model embeds images")
    generator = np.random.default_rng(seed)
    width, height = size
    slope = np.linspace(0, 1, width)[None, :, None] * generator.uniform(-120, 120, 4)
    slope = slope + np.linspace(0, 1, height)[:, None, None] * generator.uniform(-120, 120, 4)
    values = generator.uniform(60, 200, 4) + slope + generator.normal(0, 25, (height, width, 4))
    picture = module.fromarray(values.clip(0, 255).astype(np.uint8))
    if mode == "I;16":
        return module.fromarray((values[..., 0].clip(0, 255) * 257).astype(np.uint16))
    # Not every pair of modes converts at once.
    return picture.convert(mode if mode in ("RGBA", "LA") else "RGB").convert(mode)


class TowerReference(Reference):
    """The oracle of an image-text model: transformers' own pooling and projection, one input at a time."""

    def outputs(
        self, ids: Sequence[int], type_ids: Sequence[int], *, unattended: int = 0, prompt_length: int = 0
    ) -> dict[str, Array]:
        """Compute one text's outputs; see ``Reference.outputs``."""
        towers = cast(Any, self.model)
        row = torch.tensor([list(ids)])
        with torch.no_grad(), quiet():
            states = _numpy(towers.text_model(input_ids=row).last_hidden_state[0])
            raw = _numpy(towers.get_text_features(input_ids=row).pooler_output[0])
        tokens = self._projected(states)
        end = end_token(towers.text_model.config)
        if end is not None and end not in ids:
            raw = tokens[-1]  # transformers would pool the first token; LAST is vLLM's rule
        return {**self._vectors(raw), "last_hidden_state": states, "token_embeddings": tokens}

    def image_outputs(self, pixels: Array) -> dict[str, Array]:
        """Compute one image's outputs from float32 ``[1, 3, height, width]``, under the text graph's names."""
        with torch.no_grad(), quiet():
            answer = cast(Any, self.model).get_image_features(pixel_values=torch.from_numpy(pixels))
        return self._vectors(_numpy(answer.pooler_output[0]))

    def _vectors(self, raw: Array) -> dict[str, Array]:
        unit = raw / np.maximum(np.linalg.norm(raw), 1e-12)
        return {"sentence_embedding": unit if self.spec.use_activation else raw, "unnormalized_embedding": raw}

    def _projected(self, states: Array) -> Array:
        layer = getattr(self.model, "text_projection", None) or cast(Any, self.model).text_model.head
        bias = _numpy(layer.bias) if layer.bias is not None else 0.0
        result: Array = states @ _numpy(layer.weight).T + bias
        return result


def reference_for(source: Source, model: Any, spec: PoolingSpec) -> Reference:
    """The oracle that a checkpoint needs."""
    kind = TowerReference if source.files.architecture in IMAGE_TEXT else Reference
    return kind(source, model, spec)


def verify_images(
    folder: Path, manifest: Manifest, reference: Reference, engine: Engine, *, allow_mismatch: bool
) -> Manifest:
    """Run the gate of the image tower, store its report in the manifest and its images in ``golden.json``.

    Raises:
        ParityError: preprocessing or graph disagrees with transformers.
    """
    tower = manifest.image
    if tower is None or not isinstance(reference, TowerReference):
        return manifest
    images = generated_images(rgb_only=not tower.policy.convert_rgb)
    processor = load_processor(reference.source.model_folder)
    with quiet():
        wanted = [np.asarray(processor(image, return_tensors="np")["pixel_values"], np.float32) for image in images]
    expected = [reference.image_outputs(pixels) for pixels in wanted]
    if not all(np.isfinite(value).all() for outputs in expected for value in outputs.values()):
        raise ParityError("the image tower itself, in torch, answers NaN or infinity; its weights are damaged")
    report = _report(engine, tower, images, wanted, expected)
    if report["failures"] and not allow_mismatch:
        raise ParityError(
            f"the image tower disagrees with the reference: {'; '.join(report['failures'])}. "
            "Nothing was written; --allow-mismatch writes it all the same"
        )
    _write_golden(folder, images, expected)
    graph = dataclasses.replace(tower.graphs["fp32"], parity=report)
    return dataclasses.replace(manifest, image=dataclasses.replace(tower, graphs={"fp32": graph}))


def _report(
    engine: Engine, tower: ImageTower, images: list[Image.Image], wanted: list[Array], expected: list[dict[str, Array]]
) -> dict[str, Any]:
    names = ["sentence_embedding", "unnormalized_embedding"]
    inputs = [Encoded([], [], image=image) for image in images]
    try:
        cases = {
            "alone": [engine.run([item], names)[0] for item in inputs],
            "batched": engine.run(inputs, names),
        }
        figures = {case: compare(names, expected, answers) for case, answers in cases.items()}
    except RuntimeFailure as error:
        raise ParityError(f"the image graph cannot be run: {error}. Nothing was written") from error
    pixels = max(float(np.abs(pixel_values([i], tower.policy) - w).max()) for i, w in zip(images, wanted, strict=True))
    report: dict[str, Any] = {
        "precision": "fp32",
        "samples": len(images),
        "cases": figures,
        "pixels_max_abs": pixels,
        "batch_invariance": max(
            float(np.abs(alone[names[0]] - batched[names[0]]).max())
            for alone, batched in zip(cases["alone"], cases["batched"], strict=True)
        ),
        "empty_row_finite": True,
    }
    judge(report, BARS["fp32"])
    if pixels > _PIXEL_BAR:
        report["failures"].append(f"pixel_values max-abs {pixels:.2e} > {_PIXEL_BAR:.0e}")
        report["passed"] = False
    return report


def _write_golden(folder: Path, images: list[Image.Image], expected: list[dict[str, Array]]) -> None:
    """Add the smallest images to ``golden.json``, as PNG files in base64."""
    path = folder / GOLDEN_NAME
    golden = json.loads(path.read_text(encoding="utf-8"))
    order = sorted(range(len(images)), key=lambda index: images[index].width * images[index].height)
    chosen = [index for index in order if images[index].mode in ("RGB", "RGBA", "L", "P")][:_GOLDEN_IMAGES]
    golden["images"] = [
        {
            "png": _png(images[index]),
            "outputs": {name: [float(f"{x:.8g}") for x in value] for name, value in expected[index].items()},
        }
        for index in chosen
    ]
    path.write_text(json.dumps(golden, ensure_ascii=False) + "\n", encoding="utf-8")


def _png(image: Image.Image) -> str:
    stream = io.BytesIO()
    image.save(stream, format="PNG")
    return base64.b64encode(stream.getvalue()).decode()


def _numpy(tensor: torch.Tensor) -> Array:
    result: Array = tensor.detach().to(torch.float64).numpy()
    return result
