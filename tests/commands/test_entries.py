"""Every way to start the web process works, with its worker, or says in one sentence what to run instead."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from tests.commands.conftest import ROOT, Commands, Ran, ended
from tests.ports import free_port
from tests.reliability.processes import Running, children, lines
from tests.reliability.waiting import until

GUNICORN = ("-m", "gunicorn")
WAITRESS = (
    "import sys, waitress.runner; sys.exit(waitress.runner.run(['waitress-serve', '--port=0', 'app:app']))"
)
NOT_STARTED = "The bridge is not started"


def environment(folder: Path, port: int) -> dict[str, str]:
    env = {"DATABASE_URL": f"sqlite:///{folder / 'bridge.db'}", "PORT": str(port)}
    return {"PATH": os.environ["PATH"], **env}


def refused_to(folder: Path, *arguments: str, port: int = 0) -> Ran:
    return ended(arguments, environment(folder, port or free_port()))


def interpreted(folder: Path, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment(folder, free_port()),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


@pytest.mark.parametrize(
    "arguments",
    [
        (*GUNICORN, "app:app", "--preload", "-w", "2"),
        (*GUNICORN, "app:app", "-w", "2", "--threads", "1"),
        ("app.py",),
    ],
    ids=" ".join,
)
def test_it_serves_and_works(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    port = free_port()
    process = Running(arguments, environment(tmp_path, port), tmp_path / "log", interpreter=True)
    try:
        until(process.has_logged("worker_started"))
        until(lambda: requests.get(f"http://127.0.0.1:{port}/readyz", timeout=20).ok)
        assert process.stop() == 0
    finally:
        process.end()


def test_ctrl_c_in_a_terminal_reaches_all_processes_and_only_the_master_acts_on_it(tmp_path: Path) -> None:
    env, log = environment(tmp_path, free_port()) | {"WEB_CONCURRENCY": "2"}, tmp_path / "log"
    process = Running(("-m", "bridge", "serve"), env, log)
    try:
        until(lambda: log.read_text().count("worker_started") == 2)
        workers = children(process.pid)
        for worker in workers:
            os.kill(worker, signal.SIGINT)
        time.sleep(1)  # gunicorn's own worker would end within this time
        assert children(process.pid) == workers
        process.send(signal.SIGINT)
        assert process.wait() == 0
    finally:
        process.end()
    assert log.read_text().count("worker_stopped") == 2


def test_what_app_py_is_given_is_given_to_serve(tmp_path: Path) -> None:
    refused = interpreted(tmp_path, "app.py", "--hots", "127.0.0.1")
    assert refused.returncode == 2
    assert "--hots" in refused.stderr


def test_sigusr2_starts_a_second_master_that_serves_on_when_the_first_has_stopped(tmp_path: Path) -> None:
    arguments = ("-m", "bridge", "serve", "--host", "127.0.0.1")
    port = free_port()
    process = Running(arguments, environment(tmp_path, port), tmp_path / "log", interpreter=True)
    try:
        until(process.has_logged("worker_started"))
        process.send(signal.SIGUSR2)
        until(lambda: len(lines(process.log, "worker_started")) == 2, within_seconds=30)
        assert process.stop() == 0
        until(lambda: requests.get(f"http://127.0.0.1:{port}/readyz", timeout=20).ok)
    finally:
        process.end()  # the second master, too: it is in the same process group


@pytest.mark.parametrize(
    "arguments",
    [
        (*GUNICORN, "-b", "127.0.0.1:0", "-c", "/dev/null", "app:app"),
        (*GUNICORN, "-b", "127.0.0.1:0", "-c", "/dev/null", "--preload", "app:app"),
        (
            *GUNICORN,
            "-b",
            "127.0.0.1:0",
            "-c",
            "/dev/null",
            "-k",
            "bridge.web.server.WaitressWorker",
            "app:app",
        ),
        ("-m", "flask", "run"),
        ("-c", WAITRESS),
    ],
    ids=" ".join,
)
def test_another_configuration_or_server_is_told_what_to_run(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    run = interpreted if WAITRESS in arguments else refused_to
    refused = run(tmp_path, *arguments)
    assert refused.returncode == 4
    assert refused.stderr.count(NOT_STARTED) == 1
    assert f"`gunicorn app:app`, in {ROOT}" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "bridge.db").exists()


@pytest.mark.parametrize("option", ["--chdir", "--pythonpath"])
def test_gunicorn_from_another_directory_is_told_what_to_run(tmp_path: Path, option: str) -> None:
    refused = interpreted(tmp_path, *GUNICORN, option, str(ROOT), "app:app", cwd=tmp_path)
    assert refused.returncode == 4
    assert NOT_STARTED in refused.stderr


def test_another_kind_of_worker_is_refused_in_one_sentence(tmp_path: Path) -> None:
    refused = refused_to(tmp_path, *GUNICORN, "-k", "sync", "app:app")
    assert refused.returncode == 1
    [told] = [line for line in refused.stderr.splitlines() if not line.startswith("{")]
    assert "leave out `-k`" in told
    assert not (tmp_path / "bridge.db").exists()


@pytest.mark.parametrize("command", ["serve", "sandbox"])
def test_a_port_that_is_taken_is_told_by_its_number_and_nothing_else_happens(
    tmp_path: Path, command: str
) -> None:
    with taken_port() as port:
        where = ("--host", "127.0.0.1") if command == "serve" else ("--port", str(port))
        refused = refused_to(tmp_path, "-m", "bridge", command, *where, port=port)
    assert refused.returncode == 1
    [told] = refused.stderr.splitlines()
    assert f"127.0.0.1:{port}" in told
    assert not (tmp_path / "bridge.db").exists()


@pytest.mark.parametrize("options", [(), ("--preload",)], ids=" ".join)
def test_gunicorn_migrates_nothing_when_its_port_is_taken(tmp_path: Path, options: tuple[str, ...]) -> None:
    with taken_port() as port:
        bind = ("--bind", f"127.0.0.1:{port}")
        refused = refused_to(tmp_path, *GUNICORN, *bind, "app:app", *options)
    assert refused.returncode == 1
    assert str(port) in refused.stderr
    assert "worker_started" not in refused.stderr
    assert "Listening" not in refused.stderr
    assert not (tmp_path / "bridge.db").exists()


@pytest.mark.parametrize("options", [(), ("--preload",)], ids=" ".join)
def test_gunicorn_makes_no_key_file_beside_a_database_that_needs_the_former_one(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    Commands(**environment(tmp_path, free_port())).said("migrate")
    key = tmp_path / "bridge.db.key"
    key.unlink()
    refused = refused_to(tmp_path, *GUNICORN, "app:app", *options)
    assert refused.returncode
    assert refused.stderr.count(f"The key file {key} is not there: put it back ") == 1
    assert "Traceback" not in refused.stderr
    assert not key.exists()


@pytest.mark.parametrize("port", ["-1", "65536", "http", "", "8001.5", "٨٠٠١"])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    refused = Commands().run("sandbox", f"--port={port}")
    assert refused.returncode == 2
    assert "must be a number from 0 to 65535" in refused.stderr


def test_make_run_names_the_port_that_it_uses_and_that_it_is_taken(tmp_path: Path) -> None:
    with taken_port() as port:
        make = shutil.which("make") or "make"
        told = subprocess.run(
            # The set-up stands; to repeat it would change packages under the tests that run now.
            [make, "-o", "setup", f"VENV={sys.prefix}", "run"],
            cwd=ROOT,
            env=environment(tmp_path, port),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert told.returncode
    assert f"port {port} " in told.stdout
    assert f"127.0.0.1:{port} cannot be listened on" in told.stderr
    assert "8000" not in told.stdout + told.stderr
    assert not (tmp_path / "bridge.db").exists()
