"""The point of the tiny checkpoints: different texts, visibly different outputs, and no saturation."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
import transformers
from torch import Tensor
from transformers import BatchEncoding, PreTrainedModel

from pool_export.models_zoo import texts, tiny

CHECKPOINTS = [(family, head) for family in tiny.FAMILIES for head in tiny.heads_of(family)]
# Every ninth: no two of them share a topic.
SENTENCES = list(texts.sentences()[::9])


class Runner:
    """Writes and loads each checkpoint once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.loaded: dict[tuple[str, str], tuple] = {}

    def load(self, family: str, head: str = "base") -> tuple:
        if (family, head) not in self.loaded:
            folder = tiny.write_tiny(self.folder / f"{family}-{head}", family, head)
            model = getattr(transformers, tiny.class_name(family, head)).from_pretrained(folder).eval()
            self.loaded[family, head] = transformers.AutoTokenizer.from_pretrained(folder), model
        return self.loaded[family, head]

    def __call__(self, family: str, head: str, batch: list) -> tuple[Tensor, Tensor]:
        """Return (hidden states or logits, attention mask)."""
        tokenizer, model = self.load(family, head)
        return _outputs(model, tokenizer(batch, padding=True, truncation=True, return_tensors="pt"))


def _outputs(model: PreTrainedModel, inputs: BatchEncoding) -> tuple[Tensor, Tensor]:
    with torch.inference_mode():
        result = model(**inputs)
    return result["logits" if "logits" in result else "last_hidden_state"], inputs["attention_mask"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    return Runner(tmp_path_factory.mktemp("outputs"))


def _mean(hidden: Tensor, mask: Tensor) -> Tensor:
    weights = mask.unsqueeze(-1).float()
    return (hidden * weights).sum(1) / weights.sum(1)


def _last(hidden: Tensor, mask: Tensor) -> Tensor:
    last = (mask * torch.arange(1, mask.shape[1] + 1)).argmax(1)
    return hidden[torch.arange(len(hidden)), last]


def _highest_cosine(vectors: Tensor) -> float:
    unit = torch.nn.functional.normalize(vectors)
    return float((unit @ unit.T - 2 * torch.eye(len(unit))).max())


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_unrelated_texts_have_different_embeddings(run, family: str):
    hidden, mask = run(family, "base", SENTENCES)
    assert hidden.isfinite().all()
    assert hidden.abs().max() < 20
    assert _highest_cosine(_mean(hidden, mask)) < 0.9
    assert _highest_cosine(_last(hidden, mask)) < 0.95


@pytest.mark.parametrize(
    ("family", "head"), [(family, head) for family, head in CHECKPOINTS if head.startswith("sequence")]
)
def test_texts_have_different_class_logits(run, family: str, head: str):
    logits, _ = run(family, head, SENTENCES)
    assert logits.shape == (len(SENTENCES), int(head[-1]))
    gaps = torch.pdist(logits, p=float("inf"))
    assert gaps.median() > 0.5
    if logits.shape[1] > 1:  # 24 numbers on one line cannot all be far apart
        assert gaps.min() > 0.05
        assert len(set(logits.argmax(1).tolist())) > 1
    assert logits.abs().max() < 8, "sigmoid and softmax would saturate"


@pytest.mark.parametrize(
    ("family", "head"), [(family, head) for family, head in CHECKPOINTS if head.startswith("token") or "lm" in head]
)
def test_tokens_have_different_logits(run, family: str, head: str):
    logits, mask = run(family, head, SENTENCES)
    rows = logits[mask.bool()]
    assert rows.isfinite().all()
    assert rows.std(0).min() > 0.3
    assert rows.abs().max() < 16


@pytest.mark.parametrize(("family", "head"), CHECKPOINTS)
def test_rounding_errors_stay_small(run, family: str, head: str):
    tokenizer, model = run.load(family, head)
    inputs = tokenizer(SENTENCES[:8], padding=True, return_tensors="pt")
    values, mask = _outputs(model, inputs)
    exact, _ = _outputs(copy.deepcopy(model).double(), inputs)
    error = (values.double() - exact).abs()
    assert error[mask.bool()].max() < 6e-5 if error.ndim == 3 else error.max() < 1e-5


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_padding_does_not_change_a_text(run, family: str):
    hidden, mask = run(family, "base", SENTENCES)
    shortest = int(mask.sum(1).argmin())
    alone, _ = run(family, "base", [SENTENCES[shortest]])
    assert mask.shape[1] > 2 * alone.shape[1]
    torch.testing.assert_close(hidden[shortest][mask[shortest].bool()], alone[0], atol=5e-5, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted(set(tiny.ARCHITECTURES) - set(tiny.FAMILIES)))
def test_every_other_architecture_tells_texts_apart(run, family: str):
    # One text at a time: a few are not made for padding.
    alone = [run(family, "base", [text]) for text in SENTENCES[:12]]
    hidden = torch.cat([_mean(*one) for one in alone])
    assert hidden.isfinite().all()
    assert hidden.abs().max() < 20
    assert _highest_cosine(hidden) < 0.99


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_word_order_matters(run, family: str):
    words = SENTENCES[3].split()
    vectors = [_mean(*run(family, "base", [" ".join(order)])) for order in (words, words[::-1])]
    assert (vectors[0] - vectors[1]).abs().max() > 0.05


def test_segments_matter(run):
    query, document = texts.pairs()[0]
    apart, _ = run("bert", "base", [(query, document)])
    together, _ = run("bert", "base", [f"{query} [SEP] {document}"])
    assert apart.shape == together.shape
    assert (apart - together).abs().max() > 0.02


@pytest.mark.parametrize("family", ["modernbert", "gemma3_text"])
def test_texts_are_longer_than_the_window(run, family: str):
    _, mask = run(family, "base", SENTENCES)
    assert mask.sum(1).max() > 4 * 8


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_hard_texts_stay_finite(run, family: str):
    hidden, mask = run(family, "base", [text for text in texts.hard_texts() if text])
    assert mask.sum(1).max() == tiny.MAX_LENGTH
    assert hidden[mask.bool()].isfinite().all()


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_seeds_give_different_models(tmp_path: Path, family: str):
    models = [
        getattr(transformers, tiny.class_name(family)).from_pretrained(
            tiny.write_tiny(tmp_path / str(seed), family, seed=seed)
        )
        for seed in (0, 1)
    ]
    pairs = zip(*(model.named_parameters() for model in models), strict=True)
    assert all(not torch.equal(first, second) for (_, first), (_, second) in pairs)
