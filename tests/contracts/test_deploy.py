"""The files in deploy/ agree with the server's options, its routes, and one another."""

from __future__ import annotations

import configparser
import http.server
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from pool_export.runtime.config import RuntimeConfig
from pool_export.runtime.options import env_name, from_env
from pool_export.runtime.server.config import ServerConfig

PORT = ServerConfig.listen_port
DOCKERFILES = ("Dockerfile", "Dockerfile.cuda")
# Read outside the two configs, or named as what must not be there.
OTHER_NAMES = {"POOL_EXPORT_CACHE", "POOL_EXPORT_PORT"}


@pytest.fixture(scope="module")
def deploy(checkout: Path) -> Path:
    return checkout / "deploy"


@pytest.fixture(scope="module")
def compose(deploy: Path) -> dict[str, Any]:
    return yaml.safe_load((deploy / "compose.yaml").read_text("utf-8"))["services"]["server"]


@pytest.fixture(scope="module")
def manifests(deploy: Path) -> dict[str, dict[str, Any]]:
    return {item["kind"]: item for item in yaml.safe_load_all((deploy / "kubernetes.yaml").read_text("utf-8"))}


@pytest.fixture(scope="module")
def pod(manifests: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return manifests["Deployment"]["spec"]["template"]["spec"]


@pytest.fixture(scope="module")
def unit(deploy: Path) -> configparser.SectionProxy:
    parser = configparser.ConfigParser(interpolation=None, strict=False, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(deploy / "pool-export.service", "utf-8")
    return parser["Service"]


@pytest.fixture(scope="module")
def environments(deploy: Path, compose: dict[str, Any], pod: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Return the variables that each way of running sets."""
    lines = (deploy / "pool-export.env").read_text("utf-8").splitlines()
    return {
        "compose": compose["environment"],
        "kubernetes": {item["name"]: item["value"] for item in pod["containers"][0]["env"]},
        "systemd": dict(line.split("=", 1) for line in lines if line and not line.startswith("#")),
    }


def drain_timeout(environment: Mapping[str, str]) -> float:
    return float(environment.get("POOL_EXPORT_DRAIN_TIMEOUT", ServerConfig.drain_timeout))


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


def instructions(file: Path) -> list[str]:
    """Return a Dockerfile's instructions, continuation lines joined."""
    lines = [line for line in file.read_text("utf-8").splitlines() if not line.startswith("#")]
    return [line for line in "\n".join(lines).replace("\\\n", " ").splitlines() if line]


def health_command(file: Path) -> list[str]:
    line = next(line for line in instructions(file) if line.startswith("HEALTHCHECK"))
    return json.loads(line.partition(" CMD ")[2])


def test_every_variable_is_an_option(checkout: Path, deploy: Path) -> None:
    known = {env_name(item.name) for config in (ServerConfig, RuntimeConfig) for item in fields(config)}
    files = [*deploy.iterdir(), checkout / "docs" / "deploy.md", checkout / "docs" / "serving.md"]
    named = {
        (file.name, name)
        for file in files
        if file.is_file()
        for name in re.findall(r"\bPOOL_EXPORT_[A-Z_]*[A-Z]\b", file.read_text("utf-8"))
    }
    assert len(named) > 20
    assert {name for _, name in named} - known - OTHER_NAMES == set()


def test_the_variables_are_read_as_options(
    environments: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, environment in environments.items():
        with monkeypatch.context() as patch:
            for key, value in environment.items():
                patch.setenv(key, value)
            config = from_env(ServerConfig)
        assert config.listen_port == PORT
        assert config.log_format == "json"
        assert (config.host, name) in {("0.0.0.0", "compose"), ("0.0.0.0", "kubernetes"), ("127.0.0.1", "systemd")}
        # Whoever opens it to the network gives keys with it.
        assert config.host == "127.0.0.1" or config.api_key_file


@pytest.mark.parametrize("name", DOCKERFILES)
def test_the_image_says_the_port_and_listens_where_the_server_would(deploy: Path, name: str) -> None:
    lines = instructions(deploy / name)
    assert f"EXPOSE {PORT}" in lines
    assert "STOPSIGNAL SIGTERM" in lines
    assert 'ENTRYPOINT ["pool-export", "serve"]' in lines
    assert not [line for line in lines if "POOL_EXPORT_HOST" in line]
    user = next(line for line in lines if line.startswith("USER ")).split()[1]
    assert min(map(int, user.split(":"))) > 0, "root"


@pytest.mark.parametrize("name", DOCKERFILES)
def test_the_image_has_the_server_and_no_torch(deploy: Path, name: str, pyproject: Mapping[str, Any]) -> None:
    (line,) = [line for line in instructions(deploy / name) if line.startswith("ARG EXTRAS=")]
    extras = set(line.partition("=")[2].split(","))
    declared = pyproject["project"]["optional-dependencies"]
    assert extras <= set(declared)
    assert extras == {"gpu" if name.endswith("cuda") else "cpu", "server", "image"}
    assert not [need for extra in extras for need in declared[extra] if re.match(r"torch\b|pool-export\[", need)]


def test_what_is_built_is_not_ignored(checkout: Path, package_folders: Mapping[str, str]) -> None:
    lines = (checkout / ".dockerignore").read_text("utf-8").splitlines()
    ignored = {line for line in lines if line and not line.startswith("#")}
    needed = {folder.split("/")[0] for folder in package_folders.values()} - {""}
    assert ignored & {*needed, "pyproject.toml", "constraints.txt", "README.md", "LICENSE", "py.typed"} == set()


@pytest.fixture
def answering() -> Iterator[tuple[int, dict[str, int]]]:
    """Serve statuses by path on a free port; the table may be changed."""
    statuses = {"/health": 200}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(statuses.get(self.path, 404))
            self.end_headers()

        def log_message(self, *words: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port, statuses
        server.shutdown()


def test_the_health_check_asks_the_server_on_its_port(deploy: Path, answering: tuple[int, dict[str, int]]) -> None:
    port, statuses = answering
    commands = [health_command(deploy / name) for name in DOCKERFILES]
    assert commands[0] == commands[1]
    assert str(PORT) in commands[0][2]

    def check() -> int:
        environment = {**os.environ, "POOL_EXPORT_LISTEN_PORT": str(port)}
        return subprocess.run([sys.executable, *commands[0][1:]], env=environment, stderr=subprocess.DEVNULL).returncode

    assert check() == 0
    statuses["/health"] = 503
    assert check() == 1


def test_compose_waits_for_ready_and_gives_time_to_drain(
    compose: dict[str, Any], environments: dict[str, dict[str, str]]
) -> None:
    assert f"127.0.0.1:{PORT}/ready" in compose["healthcheck"]["test"][-1]
    assert [item.split(":")[-1] for item in compose["ports"]] == [str(PORT)]
    assert seconds(compose["stop_grace_period"]) > drain_timeout(environments["compose"])
    assert compose["secrets"] == [environments["compose"]["POOL_EXPORT_API_KEY_FILE"].rsplit("/", 1)[-1]]
    assert compose["read_only"] is True
    assert [item.split(":")[1:] for item in compose["volumes"]] == [["/models", "ro"]]


def test_systemd_gives_time_to_drain(unit: configparser.SectionProxy, environments: dict[str, dict[str, str]]) -> None:
    assert seconds(unit["TimeoutStopSec"]) > drain_timeout(environments["systemd"])
    assert re.search(r"/pool-export serve \$MODELS$", unit["ExecStart"])
    assert "=" in environments["systemd"]["MODELS"]
    name, _, credential = unit["Environment"].partition("=")
    assert (name, credential) == ("POOL_EXPORT_API_KEY_FILE", "%d/" + unit["LoadCredential"].split(":")[0])
    assert unit["DynamicUser"] == "yes"


def test_kubernetes_gives_time_to_drain(pod: dict[str, Any], environments: dict[str, dict[str, str]]) -> None:
    stop = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > stop + drain_timeout(environments["kubernetes"])


def test_kubernetes_ports_and_probes_are_the_servers(pod: dict[str, Any], manifests: dict[str, dict[str, Any]]) -> None:
    from pool_export.runtime.server.routes import ROUTES

    container = pod["containers"][0]
    assert container["ports"] == [{"name": "http", "containerPort": PORT}]
    (port,) = manifests["Service"]["spec"]["ports"]
    assert (port["port"], port["targetPort"]) == (PORT, "http")
    annotations = manifests["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(PORT)
    probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startup": "/ready", "liveness": "/health", "readiness": "/ready"
    }  # fmt: skip
    assert {probe["port"] for probe in probes.values()} == {"http"}
    # A prober and a scraper send no key.
    free = {path for route in ROUTES for path in route.paths if route.method == "GET" and not route.computes}
    assert {"/health", "/ready", annotations["prometheus.io/path"]} <= free


def test_kubernetes_objects_find_each_other(pod: dict[str, Any], manifests: dict[str, dict[str, Any]]) -> None:
    deployment = manifests["Deployment"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert manifests["Service"]["spec"]["selector"] == labels
    assert manifests["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert manifests["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    # Service links of a Service of this name would be read as options of the server.
    assert manifests["Service"]["metadata"]["name"] == "pool-export"
    assert pod["enableServiceLinks"] is False
    mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    assert set(mounts) == {volume["name"] for volume in pod["volumes"]}
    keys = next(item["value"] for item in pod["containers"][0]["env"] if item["name"] == "POOL_EXPORT_API_KEY_FILE")
    assert keys.startswith(mounts["keys"] + "/")
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
