"""What the configuration of an image-text checkpoint says: its towers' sizes, end token and image processor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast, get_args

import torch
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel

from ..runtime.images import require_pillow
from ..runtime.manifest import ImagePolicy, Resample
from .errors import ExportError, SourceError
from .quiet import quiet

# CLIP configs written before transformers#24773 name 2; the model then takes the token with the highest id.
_LEGACY_END = 2
_RESAMPLE = get_args(Resample)
# Steps of the Pillow backend that the runtime repeats; a processor with one of its own does something else.
_STEPS = ("process_image", "convert_to_rgb", "resize", "center_crop", "rescale", "normalize", "_preprocess")


def completed(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Fill in what an image-text ``config.json`` leaves to its class: SigLIP's often name no width and no length.

    Raises:
        SourceError: transformers does not understand the file.
    """
    architecture = next(iter(config.get("architectures") or ()), "")
    rest = {key: value for key, value in config.items() if key != "model_type"}
    try:
        with quiet():
            full = AutoConfig.for_model(str(config.get("model_type")), **rest).to_dict()
    except Exception as error:
        raise SourceError(f"config.json of {architecture} is not understood: {error}") from error
    return {**full, **config, "text_config": full["text_config"], "vision_config": full["vision_config"]}


def end_token(config: PretrainedConfig) -> int | None:
    """The token whose state CLIP's text tower pools; ``None`` for every other model."""
    if config.model_type != "clip_text_model":
        return None
    token = config.eos_token_id
    if not isinstance(token, int):
        raise ExportError(f"text_config.eos_token_id must be one token id, got {token!r}")
    return int(config.vocab_size) - 1 if token == _LEGACY_END else token


def text_projection(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Weights of the layer that takes the text tower's pooled state into the common space."""
    layer = getattr(model, "text_projection", None)
    if layer is None:
        layer = cast(Any, model.text_model).head
    return {name: value.detach() for name, value in layer.named_parameters()}


def load_processor(folder: Any) -> Any:
    """Load the image processor, on its Pillow backend whatever else is installed.

    Raises:
        SourceError: there is none, or it has steps of its own that the runtime does not repeat.
        MissingExtraError: Pillow is not installed.
    """
    require_pillow("the model embeds images")
    # Imported here: a text model is exported without Pillow.
    from transformers import AutoImageProcessor
    from transformers.image_processing_backends import PilBackend

    with quiet():
        try:
            processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
        except Exception as error:
            reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise SourceError(f"{folder}: no usable preprocessor_config.json ({reason})") from error
    kind = type(processor)
    own = [step for step in _STEPS if getattr(kind, step, None) is not getattr(PilBackend, step)]
    if own:
        raise SourceError(f"{kind.__name__} has its own {', '.join(own)}; expected CLIP's or SigLIP's image processor")
    return processor


def image_policy(processor: Any, vision: PretrainedConfig) -> ImagePolicy:
    """Describe an image processor as data.

    Raises:
        ExportError: it makes images of another size than the tower takes, or pads them.
    """
    height, width = _pair(vision.image_size)
    if getattr(processor, "do_pad", None):
        raise ExportError(f"{type(processor).__name__} with do_pad is not supported")
    size, crop = dict(processor.size or {}), dict(processor.crop_size or {})
    fields: dict[str, Any] = {"resize": "none"}
    made: tuple[Any, Any] = (height, width)
    if processor.do_resize:
        stated = {key: value for key, value in size.items() if value is not None}
        if set(stated) == {"shortest_edge"}:
            edge = stated["shortest_edge"]
            fields = {"resize": "shortest_edge", "resize_height": edge, "resize_width": edge}
            made = (None, None)
        elif set(stated) == {"height", "width"}:
            made = (stated["height"], stated["width"])
            fields = {"resize": "exact", "resize_height": made[0], "resize_width": made[1]}
        else:
            raise ExportError(f"preprocessor_config.json: size {stated} is not supported")
    if getattr(processor, "do_center_crop", None):
        made = (crop["height"], crop["width"])
        fields |= {"crop_height": made[0], "crop_width": made[1]}
    if made != (height, width) or vision.num_channels != 3:
        raise ExportError(
            f"preprocessor_config.json makes images of {made[0]} × {made[1]}, the image tower takes "
            f"{vision.num_channels} channels of {height} × {width}"
        )
    return ImagePolicy(
        height=height,
        width=width,
        convert_rgb=bool(processor.do_convert_rgb),
        resample=_RESAMPLE[int(processor.resample)],
        rescale_factor=float(processor.rescale_factor) if processor.do_rescale else None,
        mean=_channels(processor.image_mean) if processor.do_normalize else (),
        std=_channels(processor.image_std) if processor.do_normalize else (),
        **fields,
    )


def patches(vision: PretrainedConfig) -> int:
    """Positions of one image in the tower, the class token included."""
    (height, width), (tall, wide) = _pair(vision.image_size), _pair(vision.patch_size)
    return (height // tall) * (width // wide) + 1


def _pair(value: Any) -> tuple[int, int]:
    high, wide = (value, value) if isinstance(value, int) else value
    return int(high), int(wide)


def _channels(values: Any) -> tuple[float, ...]:
    return (float(values),) * 3 if isinstance(values, int | float) else tuple(map(float, values))
