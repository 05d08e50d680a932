"""The image tower of a bundle: its graph, opened when the first image comes, and batches of pixels through it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..poolers.spec import Task
from .bundle import Bundle
from .config import RuntimeConfig
from .errors import InputError
from .images import pixel_values
from .manifest import ImageTower, Manifest
from .outputs import require_finite
from .planning import plan_batches
from .prompts import Prompt
from .session import Session

Array = np.ndarray
Rows = dict[str, Array]

# The text tower's outputs -> their counterparts; a tower that does not normalise has the second alone.
_OUTPUTS = {
    "sentence_embedding": ("sentence_embedding", "image_embeds"),
    "unnormalized_embedding": ("image_embeds",),
}


def check_images(prompts: Sequence[Prompt], task: Task, manifest: Manifest) -> None:
    """Refuse images that this request cannot answer.

    Raises:
        InputError: the model takes text only, the task has no images, or text came with the image
            (vLLM's sentence for CLIP).
    """
    for prompt in prompts:
        if prompt.image is None:
            continue
        if manifest.image is None:
            raise InputError("this model takes text only; `multi_modal_data` was given")
        if task != "embed":
            raise InputError(f"task {task!r} takes text; an image is answered by `embed` and `score`")
        if prompt.text or prompt.token_ids:
            raise InputError(
                f"{manifest.source.architecture.removesuffix('Model')} accepts text-only or image-only inputs, not "
                "both! You must pass an image with an empty token prompt."
            )


class ImageEngine:
    """Runs images. Safe to call from several threads."""

    def __init__(self, bundle: Bundle, config: RuntimeConfig) -> None:
        """Remember what to open; a bundle whose callers send texts only never loads the second graph."""
        self._bundle = bundle
        self._config = config
        self._opened: Session | None = None
        self._lock = threading.Lock()

    @property
    def session(self) -> Session:
        """The image graph's session.

        Raises:
            BundleError: no such graph, or a damaged file.
        """
        with self._lock:
            if self._opened is None:
                self._opened = Session(self._bundle, self._config, self._tower.graphs)
            return self._opened

    def run(
        self, images: Sequence[Any], outputs: Sequence[str], progress: Callable[[int], object] | None = None
    ) -> list[Rows]:
        """Preprocess and run images, batch by batch, so that few are held as pixels at once.

        Args:
            images: what ``images.pixel_values`` takes.
            outputs: names of the text graph's outputs.
            progress: called with the number of images just finished.

        Raises:
            InputError: an image that cannot be read, or an output the graph does not have.
            RuntimeFailure: the graph failed or answered a non-finite number.
        """
        results: list[Rows] = [{} for _ in images]
        budget = self._config.max_batch_tokens or self.session.batch_tokens
        plan = plan_batches([self.tokens] * len(images), max_tokens=budget, max_rows=self._config.max_batch_size)
        for batch in plan:
            answers = self.forward([images[row] for row in batch.rows], outputs, alone=True)
            for row, answer in zip(batch.rows, answers, strict=True):
                results[row] = {name: require_finite(value, name) for name, value in answer.items()}
            if progress is not None:
                progress(len(batch.rows))
        return results

    @property
    def tokens(self) -> int:
        """What one image weighs in a batch, as its patches.

        Raises:
            InputError: the model takes text only.
        """
        return self._tower.tokens

    def forward(self, images: Sequence[Any], outputs: Sequence[str], *, alone: bool = False) -> list[Rows]:
        """Preprocess and run one batch, which may have every thread where it is ``alone``. The numbers are not checked.

        Raises:
            InputError, RuntimeFailure: as ``run``.
        """
        tower, session = self._tower, self.session
        names = {name: _counterpart(name, session.output_names) for name in outputs}
        feeds = {"pixel_values": pixel_values(images, tower.policy)}
        values = session.run(feeds, sorted(set(names.values())), alone=alone)
        return [
            {name: np.array(values[own][position], dtype=np.float32) for name, own in names.items()}
            for position in range(len(images))
        ]

    @property
    def _tower(self) -> ImageTower:
        tower = self._bundle.manifest.image
        if tower is None:
            raise InputError("this model takes text only; an image was given")
        return tower


def _counterpart(name: str, available: Sequence[str]) -> str:
    found = next((own for own in _OUTPUTS.get(name, ()) if own in available), None)
    if found is None:
        raise InputError(f"the image graph has no {name!r} (it has {', '.join(available)}); export the model again")
    return found
