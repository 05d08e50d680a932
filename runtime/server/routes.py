"""Every route of the server, family by family."""

from __future__ import annotations

from .api import embeddings, system
from .route import Route

ROUTES: tuple[Route, ...] = (*embeddings.ROUTES, *system.ROUTES)
