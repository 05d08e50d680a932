"""Every route of the server, family by family."""

from __future__ import annotations

from .api import classify, cohere, embeddings, pooling, rerank, score, system, tei, tokenize
from .api.documentation import routes_about
from .route import Route

ROUTES: tuple[Route, ...] = (
    *embeddings.ROUTES,
    *pooling.ROUTES,
    *classify.ROUTES,
    *tokenize.ROUTES,
    *score.ROUTES,
    *rerank.ROUTES,
    *cohere.ROUTES,
    *tei.ROUTES,
    *system.ROUTES,
)
ROUTES += routes_about(ROUTES)
