"""Every route of the server, family by family."""

from __future__ import annotations

from .api import classify, embeddings, pooling, system, tokenize
from .route import Route

ROUTES: tuple[Route, ...] = (
    *embeddings.ROUTES,
    *pooling.ROUTES,
    *classify.ROUTES,
    *tokenize.ROUTES,
    *system.ROUTES,
)
