"""Every route of the server, family by family."""

from __future__ import annotations

from .api import embeddings, system
from .api.documentation import routes_about
from .route import Route

ROUTES: tuple[Route, ...] = (*embeddings.ROUTES, *system.ROUTES)
ROUTES += routes_about(ROUTES)
