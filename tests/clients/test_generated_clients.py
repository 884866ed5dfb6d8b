"""Clients that others' generators make of `/openapi.json`, and what others' linters say of it."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from bridge import sandbox
from bridge.sandbox import Sandbox
from demo import services
from demo.receiver import Receiver

HERE = Path(__file__).parent
ADMIN_KEY = "an-admin-key-of-at-least-32-characters"
LOCK = HERE / "package-lock.json"
# To install takes a minute on a loaded machine, and to generate half of one.
TIMEOUT_SECONDS = 600


@dataclass(frozen=True, kw_only=True)
class Live:
    """A bridge of its own, with a worker, a HubSpot that is simulated, and a receiver of callbacks."""

    url: str
    hubspot: Sandbox
    api_key: str
    callback_url: str

    def environment(self) -> dict[str, str]:
        """What a script is told."""
        tasks = self.hubspot.state.add_tasks(tasks=3, pending_seconds=0)
        return {
            "BRIDGE_URL": self.url,
            "API_KEY": self.api_key,
            "ADMIN_KEY": ADMIN_KEY,
            "CALLBACK_URL": self.callback_url,
            "TASKS": ",".join(tasks),
        }


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("live")
    port = services.free_port()
    with sandbox.running() as hubspot:
        env = services.environment(folder, hubspot.url, port) | {"BRIDGE_ADMIN_KEY": ADMIN_KEY}
        client = services.add_client(env, "generated")
        receiver = Receiver(client["signing_secret"], lambda _: None)
        url = f"http://127.0.0.1:{port}"
        serve = ["serve", "--host", "127.0.0.1"]
        with services.running(serve, f"{url}/readyz", env, folder / "bridge.log"):
            yield Live(
                url=url,
                hubspot=hubspot,
                api_key=client["api_key"],
                callback_url=f"{receiver.url}/hooks/hubspot",
            )


@pytest.fixture(scope="module")
def document(live: Live, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The document, in a file."""
    path = tmp_path_factory.mktemp("document") / "openapi.json"
    path.write_text(requests.get(f"{live.url}/openapi.json", timeout=60).text, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def packages(pytestconfig: pytest.Config) -> Path:
    """The npm packages of the lock file, in pytest's cache: installed once."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("node and npm are not installed")
    assert pytestconfig.cache is not None
    digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16]
    folder = pytestconfig.cache.mkdir(f"npm-{digest}")
    if not (folder / "complete").exists():
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, folder)
        run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=folder)
        (folder / "complete").touch()
    return folder


@pytest.fixture(scope="module")
def project(packages: Path, document: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in TypeScript, as its author would have it."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "node_modules").symlink_to(packages / "node_modules")
    for source in (HERE / "package.json", HERE / "tsconfig.json", *HERE.glob("*.ts"), document):
        shutil.copy(source, folder)
    return folder


@pytest.fixture(scope="module")
def clients(project: Path) -> Path:
    """The project with the clients that are made of the document, compiled by strict rules."""
    npx(project, "openapi-typescript", "openapi.json", "-o", "schema.d.ts")
    npx(project, "openapi-ts", "-i", "openapi.json", "-o", "hey")
    npx(project, "tsc")
    return project


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """What a command prints; it must succeed."""
    quiet = {"NO_UPDATE_NOTIFIER": "1", "REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **quiet, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    return done.stdout


def npx(project: Path, name: str, *arguments: str) -> str:
    return run(project / "node_modules/.bin" / name, *arguments, cwd=project)


@pytest.mark.parametrize("script", ["with_openapi_fetch", "with_hey_api"])
def test_a_client_in_typescript_compiles_and_lives(clients: Path, live: Live, script: str) -> None:
    built = Path("built") / f"{script}.js"
    assert run("node", built, cwd=clients, **live.environment()).endswith("done\n")


def test_a_client_in_python_is_made_without_warnings_and_lives(
    document: Path, live: Live, tmp_path: Path
) -> None:
    bin_folder = Path(sys.executable).parent
    path = f"{bin_folder}{os.pathsep}{os.environ['PATH']}"
    run(
        bin_folder / "openapi-python-client",
        "generate",
        "--path",
        document,
        "--output-path",
        tmp_path / "made",
        "--fail-on-warning",
        cwd=tmp_path,
        PATH=path,
    )
    shutil.copy(HERE / "with_openapi_python_client.py", tmp_path)
    script = "with_openapi_python_client.py"
    told = run(sys.executable, script, cwd=tmp_path, PYTHONPATH=str(tmp_path / "made"), **live.environment())
    assert told.endswith("done\n")


def test_redocly_finds_nothing(project: Path) -> None:
    told = npx(project, "redocly", "lint", "openapi.json", "--format=json")
    found = json.JSONDecoder().raw_decode(told[told.index("{\n") :])[0]
    assert found["totals"] == {"errors": 0, "warnings": 0, "ignored": 0}


def test_spectral_finds_nothing(project: Path) -> None:
    (project / ".spectral.yaml").write_text('extends: ["spectral:oas"]\n', encoding="utf-8")
    told = npx(project, "spectral", "lint", "openapi.json", "--fail-severity=hint", "--format=json")
    assert json.JSONDecoder().raw_decode(told[told.index("[") :])[0] == []
