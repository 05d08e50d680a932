"""Who opens a bundle, in which environment, and what of it does not apply."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

Kind = Literal["embed", "classify", "cross-encoder"]
KINDS: tuple[Kind, ...] = get_args(Kind)

# What each kind is here, for the page.
BUNDLES: dict[Kind, str] = {
    "embed": "all-MiniLM-L6-v2",
    "classify": "a tiny random sequence classifier with three labels",
    "cross-encoder": "a tiny random sequence classifier with one label, asked with pairs too",
}

# What an answer must reach; absolute up to magnitude 1 and relative above. A cosine says nothing of logits.
MIN_COSINE = 0.9999
MAX_LOGIT_GAP = 1e-4


@dataclass(frozen=True)
class Consumer:
    """Somebody else's software.

    Attributes:
        title: as the page has it.
        environment: folder below build/.
        worker: script in workers/.
        asked: what is called, for the page.
        not_applicable: kinds that it has no use for, with the reason.
        cuts_otherwise: why texts beyond the model's limit get other answers; empty where they do not.
    """

    title: str
    environment: str
    worker: str
    asked: str
    not_applicable: dict[Kind, str] = field(default_factory=dict)
    cuts_otherwise: str = ""

    def command(self, checkout: Path) -> list[str]:
        """The interpreter and the script; Node looks for its packages beside the script."""
        folder = checkout / "build" / self.environment
        if self.worker.endswith(".mjs"):
            return ["node", str(folder / self.worker)]
        return [str(folder / "bin" / "python"), str(checkout / "tests" / "interop" / "workers" / self.worker)]


CONSUMERS: dict[str, Consumer] = {
    "onnxruntime": Consumer(
        "onnxruntime", "interop-env-lean", "lean.py", "`InferenceSession` and `tokenizers`, nothing of ours"
    ),
    "sentence-transformers": Consumer(
        "sentence-transformers",
        "interop-env-hf",
        "huggingface.py",
        '`SentenceTransformer(bundle, backend="onnx").encode`, `CrossEncoder(bundle, backend="onnx").predict`',
    ),
    "optimum": Consumer(
        "optimum-onnx",
        "interop-env-hf",
        "huggingface.py",
        "`ORTModelForFeatureExtraction` (its states pooled), `ORTModelForCustomTasks`, "
        "`ORTModelForSequenceClassification`",
    ),
    "fastembed": Consumer(
        "fastembed",
        "interop-env-lean",
        "lean.py",
        "`TextEmbedding.add_custom_model` (output 0 as it is, and its own mean), `TextCrossEncoder.add_custom_model`",
        {"classify": "it has no classifiers"},
    ),
    "transformers.js": Consumer(
        "transformers.js",
        "interop-env-node",
        "transformers_js.mjs",
        "in Node, `pipeline('feature-extraction')` with mean and normalise, `AutoModel`, "
        "`AutoModelForSequenceClassification` (the tokenizer asked for `return_token_type_ids`)",
        cuts_otherwise="it cuts the ids after the special tokens are put around them, so the closing one is lost",
    ),
    "openvino": Consumer(
        "OpenVINO", "interop-env-lean", "lean.py", "`Core.read_model` and `compile_model` on the CPU in float32"
    ),
}
CELLS: tuple[tuple[str, Kind], ...] = tuple(
    (name, kind) for name, consumer in CONSUMERS.items() for kind in KINDS if kind not in consumer.not_applicable
)
