"""The page at ``/``: its files out of the package, with the headers that keep a browser to them."""

from __future__ import annotations

import hashlib
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as StarletteRoute

# Named here and not guessed: what `mimetypes` says of .js differs between machines.
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Everything from this origin and nothing inline. Strings never become markup (Trusted Types), so that a text or a
# label cannot run as a script even where the page had a mistake.
POLICY = (
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
INDEX = "index.html"


class Asset:
    """One file of the page, read once; answers GET and HEAD."""

    def __init__(self, name: str, data: bytes) -> None:
        """Keep the file and what its headers say.

        Raises:
            KeyError: a kind of file that ``MEDIA_TYPES`` does not have.
        """
        self.path = "/" if name == INDEX else f"/page/{name}"
        self.data = data
        self.headers = {
            "content-type": MEDIA_TYPES[f".{name.rpartition('.')[2]}"],
            "content-security-policy": POLICY,
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
            "etag": f'"{hashlib.sha256(data).hexdigest()[:32]}"',
            "cache-control": "no-cache",  # kept, but asked about: an upgraded server serves one version's files
        }

    async def answer(self, request: Request) -> Response:
        """Send the file, or 304 where the client has it (RFC 9110, section 13.1.2)."""
        known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
        if self.headers["etag"] in known or "*" in known:
            kept = {name: value for name, value in self.headers.items() if name != "content-type"}
            return Response(status_code=304, headers=kept)
        return Response(self.data, headers=self.headers)


def page_routes() -> list[StarletteRoute]:
    """One route a file of the page. They are no operations of the API, so they stand beside its route table."""
    folder = files(__package__) / "page"
    names = sorted(item.name for item in folder.iterdir() if f".{item.name.rpartition('.')[2]}" in MEDIA_TYPES)
    assets = [Asset(name, (folder / name).read_bytes()) for name in names]
    return [StarletteRoute(asset.path, asset.answer, methods=["GET"]) for asset in assets]
