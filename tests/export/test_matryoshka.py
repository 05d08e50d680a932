"""A finished bundle opened as a Matryoshka model gives sentence-transformers' shortened vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from pool_export import LLM, PoolingParams
from pool_export.models_zoo.texts import sentences


@pytest.mark.parametrize("size", [1, 64, 384])
def test_a_slice_is_unit_again_as_in_sentence_transformers(minilm_bundle: Path, minilm_folder: Path, size: int):
    llm = LLM(minilm_bundle, hf_overrides={"is_matryoshka": True})
    reference = SentenceTransformer(str(minilm_folder), device="cpu", local_files_only=True)
    texts = list(sentences()[:8])
    outputs = llm.embed(texts, pooling_params=PoolingParams(dimensions=size), use_tqdm=False)
    wanted = reference.encode(texts, truncate_dim=size, normalize_embeddings=True)
    assert np.abs(np.stack([item.outputs.data for item in outputs]) - wanted).max() <= 1e-5
