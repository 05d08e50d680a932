"""What a URL in a request may make the server read: data, and files and hosts that a flag allows."""

from __future__ import annotations

import base64
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from pool_export.runtime.errors import InputError
from pool_export.runtime.server import media
from pool_export.runtime.server.config import ServerConfig
from pool_export.runtime.server.media import read_media
from pool_export.runtime.server.problems import MediaUnavailable

CLOSED = ServerConfig()


def read(url: str, config: ServerConfig = CLOSED) -> bytes:
    return read_media(url, config, "image_url")


def test_data_is_decoded():
    encoded = base64.b64encode(b"\x00png\xff").decode()
    assert read(f"data:image/png;base64,{encoded}") == b"\x00png\xff"
    assert read("data:image/png;base64," + encoded.replace("=", "%3D")) == b"\x00png\xff"
    assert read("DATA:,a%20b") == b"a b"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("data:image/png;base64", "image_url: a data: URL has a comma before its data"),
        ("data:image/png;base64,%%%", "does not hold valid base64"),
        ("photo.jpg", "image_url must be a data: URL .* got 'photo.jpg'"),
        ("/etc/passwd", "must be a data: URL"),
        ("ftp://images.example/x", "must be a data: URL"),
        ("http://[", "image_url is not a URL"),
        ("http://a:b/", "image_url is not a URL"),
        ("file:///etc/passwd", "this server reads no files.*--allowed-local-media-path"),
        ("http://images.example/x.png", "this server fetches no URLs.*--allowed-media-domains"),
        ("https://images.example/x.png", "this server fetches no URLs"),
    ],
)
def test_nothing_else_is_read_by_default(url: str, message: str):
    with pytest.raises(InputError, match=message):
        read(url)


# -------------------------------------------------------------------------------------------------------------- files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    allowed = tmp_path / "allowed"
    (allowed / "deep").mkdir(parents=True)
    (allowed / "deep" / "a b.png").write_bytes(b"inside")
    (tmp_path / "allowed-not").mkdir()
    (tmp_path / "allowed-not" / "secret").write_bytes(b"outside")
    (allowed / "link").symlink_to(tmp_path / "allowed-not" / "secret")
    (allowed / "loop").symlink_to(allowed / "loop")
    (allowed / "good-link").symlink_to(allowed / "deep" / "a b.png")
    return allowed


def test_files_below_the_folder_are_read(folder: Path):
    config = ServerConfig(allowed_local_media_path=str(folder))
    assert read(f"file://{folder}/deep/a%20b.png", config) == b"inside"
    assert read(f"file://localhost{folder}/good-link", config) == b"inside"
    assert read(f"file://{folder}/deep/../deep/a b.png", config) == b"inside"


@pytest.mark.parametrize(
    "path", ["../allowed-not/secret", "%2e%2e/allowed-not/secret", "link", "deep/../../allowed-not/secret", "../none"]
)
def test_nothing_outside_is_read_or_told_of(folder: Path, path: str):
    with pytest.raises(InputError, match="the file lies outside the folder that --allowed-local-media-path allows"):
        read(f"file://{folder}/{path}", ServerConfig(allowed_local_media_path=str(folder)))


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("none.png", MediaUnavailable, "none.png cannot be read: No such file"),
        ("deep", MediaUnavailable, "deep is not a regular file|Is a directory"),
        ("a%00b", InputError, "the file: URL is no path that can be read"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(folder: Path, path: str, error: Any, message: str):
    with pytest.raises(error, match=message):
        read(f"file://{folder}/{path}", ServerConfig(allowed_local_media_path=str(folder)))


def test_other_hosts_files_and_large_ones_are_refused(folder: Path):
    with pytest.raises(InputError, match="outside the folder"):
        read(f"file://elsewhere{folder}/deep/a b.png", ServerConfig(allowed_local_media_path=str(folder)))
    with pytest.raises(InputError, match=r"the image has more than 5 bytes \(max_body\)"):
        read(f"file://{folder}/good-link", ServerConfig(allowed_local_media_path=str(folder), max_body=5))


def test_the_folder_has_to_exist(tmp_path: Path):
    with pytest.raises(InputError, match="allowed_local_media_path must be a folder"):
        ServerConfig(allowed_local_media_path=str(tmp_path / "none"))


# --------------------------------------------------------------------------------------------------------------- hosts


class _Images(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        kind, _, rest = self.path.strip("/").partition("/")
        if kind == "to":
            self.send_response(302)
            self.send_header("Location", unquote(rest.replace("_", "/")))
            self.end_headers()
            return
        if kind == "missing":
            self.send_error(404)
            return
        self.send_response(200)
        if kind == "sized":
            self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"image")

    def log_message(self, *arguments: Any) -> None:
        """Write nothing."""


@contextmanager
def running(server: ThreadingHTTPServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def images() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Images)
    server.asked = []  # type: ignore[attr-defined]
    with running(server):
        yield server


@pytest.fixture
def host(images: Any) -> str:
    images.asked.clear()
    return f"127.0.0.1:{images.server_port}"


def open_to(*hosts: str, **options: Any) -> ServerConfig:
    return ServerConfig(allowed_media_domains=",".join(hosts), **options)


@pytest.mark.parametrize("path", ["sized/x.png?a=b%20c&d", "unsized/x", "to/_sized_x", "to/_to__sized_x"])
def test_an_allowed_host_is_asked(images: Any, host: str, path: str):
    assert read(f"http://{host}/{path}", open_to("images.example", host)) == b"image"
    assert images.asked[0] == f"/{path}"


def test_a_url_is_quoted(images: Any, host: str):
    assert read(f"http://{host}/sized/naïve ☕?q=ß", open_to(host)) == b"image"
    assert images.asked == ["/sized/na%C3%AFve%20%E2%98%95?q=%C3%9F"]


@pytest.mark.parametrize("path", ["sized/x", "unsized/x"])
def test_an_image_above_the_limit_is_refused(host: str, path: str):
    with pytest.raises(InputError, match=r"the image has more than 4 bytes \(max_body\)"):
        read(f"http://{host}/{path}", open_to(host, max_body=4))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://other.example/x", "other.example:80 is not one of --allowed-media-domains"),
        ("http://127.0.0.1/x", "127.0.0.1:80 is not one of"),  # the list names another port
        ("http://images.example:8080/x", "images.example:8080 is not one of"),
        ("http://images.example.evil.example/x", "is not one of"),
        ("http://images.example@evil.example/x", "evil.example:80 is not one of"),
        ("http://169.254.169.254/latest/meta-data", "169.254.169.254:80 is not one of"),
    ],
)
def test_other_hosts_and_ports_are_refused(images: Any, host: str, url: str, message: str):
    with pytest.raises(InputError, match=message):
        read(url, open_to("images.example", host))
    assert images.asked == []


@pytest.mark.parametrize(
    "target", ["http:__127.0.0.1:1_x", "http:__evil.example_x", "file:___etc_passwd", "__evil.example_x"]
)
def test_a_redirect_has_to_stay_on_the_list(images: Any, host: str, target: str):
    with pytest.raises(InputError, match=r"is not one of --allowed-media-domains|neither http nor https"):
        read(f"http://{host}/to/{target}", open_to(host))
    assert len(images.asked) == 1


def test_a_redirect_has_to_be_a_url(host: str):
    with pytest.raises(MediaUnavailable, match=r"a redirect leads to 'http://\[', which is not a URL"):
        read(f"http://{host}/to/http:__[", open_to(host))
    with pytest.raises(InputError, match="is not a URL"):
        read(f"http://{host}/to/http:__a:b_", open_to(host))


def test_redirects_end(images: Any, host: str):
    with pytest.raises(MediaUnavailable, match="more than 3 redirects"):
        read(f"http://{host}/to/_to__to__to__to__sized_x", open_to(host))


def test_a_name_must_not_lead_into_a_private_network(images: Any, host: str, monkeypatch: pytest.MonkeyPatch):
    port = images.server_port
    answers = {"rebound.example": "127.0.0.1", "cloud.example": "169.254.169.254", "six.example": "::1"}
    monkeypatch.setattr(media.socket, "getaddrinfo", lambda name, *_, **__: [(0, 0, 0, "", (answers[name], port))])
    for name, address in answers.items():
        with pytest.raises(InputError, match=f"{name} leads to {address}, which is not a public address"):
            read(f"http://{name}:{port}/sized/x", open_to(f"{name}:{port}"))
    assert images.asked == []


def test_what_does_not_answer_is_unavailable(host: str, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(MediaUnavailable, match=r"127.0.0.1 did not answer .* status 404"):
        read(f"http://{host}/missing", open_to(host))
    with pytest.raises(MediaUnavailable, match=r"127.0.0.1 did not answer"):
        read(f"https://{host}/sized/x", open_to(host))  # no TLS there
    monkeypatch.setattr(media, "_SECONDS", 0.0)
    with pytest.raises(MediaUnavailable, match="did not answer within 0 s or failed: timed out"):
        read(f"http://{host}/sized/x", open_to(host))


def test_tls_proves_the_name_that_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", "/CN=images.example", "-addext", "subjectAltName=DNS:images.example", "-days", "2"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Images)
    server.asked = []  # type: ignore[attr-defined]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    port = server.server_port
    # A public address, as far as the check goes; the connection goes to ours.
    monkeypatch.setattr(media, "_allowed_address", lambda *_: ("127.0.0.1", port))
    with running(server):
        config = open_to(f"images.example:{port}")
        with pytest.raises(MediaUnavailable, match="certificate verify failed"):
            read(f"https://images.example:{port}/sized/x", config)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with pytest.raises(MediaUnavailable, match="Hostname mismatch"):
            read(f"https://other.example:{port}/sized/x", config)
        assert read(f"https://images.example:{port}/sized/x", config) == b"image"
        with pytest.raises(InputError, match=r"images.example redirects from https to 'http:"):
            read(f"https://images.example:{port}/to/http:__images.example_x", config)


@pytest.mark.parametrize("text", ["https://images.example", "*.example"])
def test_the_list_holds_hosts(text: str):
    with pytest.raises(InputError, match="allowed_media_domains holds hosts such as"):
        open_to(text)
