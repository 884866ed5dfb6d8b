"""The proxies' configurations of docs/operating.md, in the real programs, before a real bridge."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from bridge.web.bodies import LARGEST_BYTES
from demo.services import ROOT
from tests.docs.markdown import blocks, page
from tests.ports import free_port
from tests.reliability.waiting import until
from tests.web.wire import ADMIN_KEY, served

OPERATING = page("docs/operating.md")
KEY = "k" * 32
# Where Debian has nginx, which ordinary users' paths leave out.
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"


@contextmanager
def running(command: Sequence[str | Path], folder: Path, url: str, **env: str) -> Iterator[None]:
    with (folder / f"{Path(command[0]).name}.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | {"HOME": str(folder)} | env, stdout=log, stderr=log
        )
    try:
        until(lambda: process.poll() is not None or answers(url))
        yield
    finally:
        process.terminate()
        process.wait(60)


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=10).ok
    except requests.ConnectionError:
        return False


def nginx(text: str, port: int, folder: Path) -> list[str | Path]:
    """Write nginx's configuration, as http on loopback; return the command that runs it."""
    server = "\n".join(line for line in text.splitlines() if "ssl_" not in line)
    server = server.replace("listen 443 ssl", f"listen 127.0.0.1:{port}")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    folders = "\n".join(f"{kind}_temp_path {folder / kind};" for kind in kinds)
    file = folder / "nginx.conf"
    file.write_text(
        f"daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{folders}\n{server}\n}}\n"
    )
    return [program("nginx"), "-e", "stderr", "-c", file]


def caddy(text: str, port: int, folder: Path) -> list[str | Path]:
    """As `nginx`."""
    file = folder / "Caddyfile"
    site = text.replace("bridge.example.com", f"http://127.0.0.1:{port}")
    file.write_text(f"{{\nadmin off\nauto_https off\n}}\n{site}\n")
    return [program("caddy"), "run", "--config", file, "--adapter", "caddyfile"]


def program(name: str) -> str:
    return shutil.which(name, path=PATH) or ""


each_proxy = pytest.mark.parametrize(
    "configured",
    [
        pytest.param(
            proxy,
            id=proxy.__name__,
            marks=pytest.mark.skipif(
                not program(proxy.__name__), reason=f"{proxy.__name__} is not installed"
            ),
        )
        for proxy in (nginx, caddy)
    ],
)


@pytest.fixture(scope="module")
def bridge_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder, port = tmp_path_factory.mktemp("bridge"), free_port()
    command = [sys.executable, "-m", "bridge", "serve", "--host", "127.0.0.1"]
    env = {"DATABASE_URL": f"sqlite:///{folder}/bridge.db", "BRIDGE_ADMIN_KEY": KEY, "PORT": str(port)}
    with running(command, folder, f"http://127.0.0.1:{port}/healthz", **env):
        yield port


@each_proxy
def test_through_a_proxy_a_body_of_one_mebibyte_is_read_and_a_larger_one_is_a_413(
    configured: Callable[[str, int, Path], list[str | Path]], bridge_port: int, tmp_path: Path
) -> None:
    [block] = blocks(OPERATING, configured.__name__)
    port = free_port()
    command = configured(block.text.replace("8000", str(bridge_port)), port, tmp_path)
    url = f"http://127.0.0.1:{port}"
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    with running(command, tmp_path, f"{url}/healthz"):
        sizes = (LARGEST_BYTES, LARGEST_BYTES + 1, 2 * LARGEST_BYTES)
        told = [
            requests.post(f"{url}/v1/watches", b" " * size, headers=headers, timeout=30) for size in sizes
        ]
    assert [answer.status_code for answer in told] == [400, 413, 413]
    assert {answer.headers["Content-Type"] for answer in told} == {"application/problem+json"}


# The second page of an export cannot be read.
BREAKING = """
from sqlalchemy.exc import OperationalError
from bridge.web.api import exports
def _page(engine, filters, order, cursor, read=exports._page):
    if cursor:
        raise OperationalError("", {}, Exception("gone"))
    return read(engine, filters, order, cursor)
exports._page, exports.ROWS = _page, 1
"""


@each_proxy
def test_through_a_proxy_an_export_that_breaks_off_is_an_error(
    configured: Callable[[str, int, Path], list[str | Path]], tmp_path: Path
) -> None:
    [block] = blocks(OPERATING, configured.__name__)
    port = free_port()
    headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
    with served(tmp_path, BREAKING) as web:
        command = configured(block.text.replace("8000", str(web.port)), port, tmp_path)
        url = f"http://127.0.0.1:{port}"
        with running(command, tmp_path, f"{url}/healthz"):
            for number in range(3):
                watch = {"task_id": f"t{number}", "callback_url": "https://app.example.com/"}
                requests.post(f"{url}/v1/watches", json=watch, headers=headers, timeout=30).raise_for_status()
            with pytest.raises(requests.exceptions.ChunkedEncodingError):
                requests.get(f"{url}/v1/watches.csv", headers=headers, timeout=30)
        logged = web.process.log.read_text()
    assert "database_away" in logged
    assert "Traceback" not in logged
