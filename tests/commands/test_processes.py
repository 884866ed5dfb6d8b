"""`python -m bridge migrate | worker | serve | sandbox`: how they start, and their errors."""

import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
import requests
from cryptography.fernet import Fernet

from tests.commands.conftest import ROOT, Commands
from tests.ports import free_port
from tests.reliability.processes import WEB, WORKER, Running, answers, children, lines, running
from tests.reliability.waiting import until

START_SECONDS = 30
SERVE = ("-m", "bridge", "serve", "--host")


def answer(url: str) -> requests.Response:
    give_up_at = time.monotonic() + START_SECONDS
    while True:
        try:
            return requests.get(url, timeout=10)
        except requests.ConnectionError:
            if time.monotonic() > give_up_at:
                raise
            time.sleep(0.1)


def test_migrate_may_run_twice(commands: Commands) -> None:
    for _ in range(2):
        assert commands.run("migrate").returncode == 0


def test_a_wrong_setting_stops_every_command_with_status_2(on_sqlite: Callable[..., Commands]) -> None:
    wrong = on_sqlite(BRIDGE_CONCURRENCY="none", HUBSPOT_TIMEOUT="-1")
    for command in (["migrate"], ["worker"], ["serve"], ["clients", "list"]):
        stopped = wrong.run(*command)
        assert stopped.returncode == 2
        assert "BRIDGE_CONCURRENCY" in stopped.stderr
        assert "HUBSPOT_TIMEOUT" in stopped.stderr


def test_the_wrong_secret_key_is_told_at_the_start(commands: Commands) -> None:
    commands.said("clients", "add", "cms")
    commands.env["BRIDGE_SECRET_KEY"] = Fernet.generate_key().decode()
    for command in ("migrate", "worker", "serve"):
        refused = commands.run(command)
        assert refused.returncode == 1
        assert "BRIDGE_SECRET_KEY" in refused.stderr


def test_a_database_that_does_not_answer_is_told_with_what_to_do() -> None:
    nowhere = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
    key = Fernet.generate_key().decode()
    refused = Commands(DATABASE_URL=nowhere, BRIDGE_SECRET_KEY=key).run("migrate")
    assert refused.returncode == 1
    assert "The database at DATABASE_URL cannot be used" in refused.stderr


def test_a_database_that_refuses_is_told_with_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "no-database.db"
    file.write_text("This is not a database. " * 50)
    refused = Commands(DATABASE_URL=f"sqlite:///{file}").run("migrate")
    assert refused.returncode == 1
    [told] = refused.stderr.splitlines()
    assert "file is not a database" in told


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_on_sqlite_all_files_are_their_owner_s_alone_whatever_the_umask(umask: int, tmp_path: Path) -> None:
    commands = Commands(DATABASE_URL="sqlite:///bridge.db", PYTHONPATH=str(ROOT))
    worker = subprocess.Popen(
        [sys.executable, "-m", "bridge", "worker"],
        cwd=tmp_path,
        env=commands.env,
        stderr=subprocess.DEVNULL,
        umask=umask,
    )
    names = {f"bridge.db{end}" for end in ("", "-wal", "-shm", ".key")}
    try:
        until(lambda: names == {path.name for path in tmp_path.iterdir()})
        modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    finally:
        worker.kill()
        worker.wait()
    assert modes == dict.fromkeys(names, 0o600)


def credentials_missed(said: str) -> list[str]:
    return [line for line in said.splitlines() if "hubspot_credentials_missing" in line]


def test_serve_without_credentials_says_once_how_to_set_them_and_serves(
    on_sqlite: Callable[..., Commands], tmp_path: Path
) -> None:
    port = free_port()
    env = on_sqlite(PORT=str(port), WEB_CONCURRENCY="2").env
    with running(env, tmp_path / "web.log", *SERVE, "127.0.0.1") as web:
        assert answer(f"http://127.0.0.1:{port}/healthz").status_code == 200
        assert web.stop() == 0
    said = web.log.read_text()
    [told] = credentials_missed(said)
    assert "HUBSPOT_ACCESS_TOKEN" in told
    assert f"http://127.0.0.1:{port}" in said


@pytest.mark.parametrize("stored", [False, True])
def test_a_worker_warns_of_missing_credentials_unless_an_account_with_some_is_stored(
    stored: bool,  # noqa: FBT001 -- pytest hands it in
    commands: Commands,
    tmp_path: Path,
) -> None:
    if stored:
        commands.said("accounts", "set", "shop", given='{"access_token": "pat-na1-x"}')
    worker = Running(WORKER, commands.env, tmp_path / "worker.log")
    try:
        until(worker.has_logged("worker_started"))
    finally:
        worker.end()
    assert bool(credentials_missed(worker.log.read_text())) is not stored


@pytest.mark.parametrize(("processes", "warned"), [(1, False), (2, True)])
def test_more_web_processes_than_the_database_has_connections_for_are_warned_of(
    processes: int,
    warned: bool,  # noqa: FBT001 -- pytest hands it in
    postgres_url: str,
    tmp_path: Path,
) -> None:
    port, key = free_port(), Fernet.generate_key().decode()
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {connection.info.dbname} CONNECTION LIMIT 11".encode())
    commands = Commands(
        DATABASE_URL=postgres_url, BRIDGE_SECRET_KEY=key, PORT=str(port), WEB_CONCURRENCY=str(processes)
    )
    web = Running(WEB, commands.env, tmp_path / "web.log")
    try:
        until(lambda: answers(web, port))
    finally:
        web.end()
    told = lines(web.log, "database_connections_few")
    assert [(line["needed"], line["allowed"]) for line in told] == ([(12, 11)] if warned else [])


def test_serve_is_whole_wherever_it_is_called_from(tmp_path: Path) -> None:
    """Serve with an embedded worker, from another folder, where a relative path to the database starts."""
    port = free_port()
    commands = Commands(DATABASE_URL="sqlite:///bridge.db", PORT=str(port), PYTHONPATH=str(ROOT))
    web = subprocess.Popen([sys.executable, *SERVE, "127.0.0.1"], cwd=tmp_path, env=commands.env)
    try:
        until(lambda: answer(f"http://127.0.0.1:{port}/readyz").ok)
        web.terminate()
        assert web.wait(40) == 0
    finally:
        web.kill()
        web.wait()
    assert (tmp_path / "bridge.db").exists()


@pytest.mark.parametrize(
    ("host", "other", "caller"), [("::1", "[::1]", "[::1]"), ("[::]", "::", "127.0.0.1")]
)
def test_serve_listens_on_ipv6_however_the_address_is_spelled(
    on_sqlite: Callable[..., Commands], tmp_path: Path, host: str, other: str, caller: str
) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    port = free_port()
    commands = on_sqlite(PORT=str(port))
    with running(commands.env, tmp_path / "web.log", *SERVE, host) as web:
        assert answer(f"http://{caller}:{port}/healthz").status_code == 200
        refused = [commands.run("serve", "--host", again) for again in (host, other)]
        assert web.stop() == 0
    assert [taken.returncode for taken in refused] == [1, 1]
    told = (
        f"[{host.strip('[]')}]:{port} cannot be listened on: Address already in use. Stop what uses it, or choose another "
        "port with PORT.\n"
    )
    assert [taken.stderr for taken in refused] == [told, told]


@pytest.mark.parametrize("host", ["bogus.invalid", "192.0.2.1", "2001:db8::1", "unix:/x", "é..b"])
def test_serve_names_the_host_that_cannot_be_listened_on(
    on_sqlite: Callable[..., Commands], host: str
) -> None:
    refused = on_sqlite().run("serve", "--host", host)
    assert (refused.returncode, refused.stdout) == (1, "")
    [told] = refused.stderr.splitlines()
    assert told.strip("[").startswith(host)
    assert told.endswith(". Give --host an address of this machine.")


def test_an_idle_worker_stops_with_status_0_on_ctrl_c(
    on_sqlite: Callable[..., Commands], tmp_path: Path
) -> None:
    worker = Running(WORKER, on_sqlite().env, tmp_path / "worker.log", interpreter=True)
    try:
        until(worker.has_logged("worker_started"))
        worker.send(signal.SIGINT)
        assert worker.wait() == 0
    finally:
        worker.end()


def limited(soft: int, hard: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("command", ["serve", "worker"])
def test_a_process_that_may_not_open_what_its_settings_promise_says_so_and_ends_with_status_2(
    command: str, on_sqlite: Callable[..., Commands]
) -> None:
    refused = subprocess.run(
        [sys.executable, "-m", "bridge", command],
        cwd=ROOT,
        env=on_sqlite(BRIDGE_CONCURRENCY="100").env,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=limited(256, 256),
    )
    [told] = refused.stderr.splitlines()
    assert refused.returncode == 2
    assert "BRIDGE_CONCURRENCY=100" in told
    assert "256" in told


def test_a_process_raises_its_limit_of_descriptors_to_what_its_settings_promise(
    on_sqlite: Callable[..., Commands],
) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    port = free_port()
    commands = on_sqlite(BRIDGE_CONCURRENCY="1024", PORT=str(port))
    web = subprocess.Popen(
        [sys.executable, "-m", "bridge", "serve"],
        cwd=ROOT,
        env=commands.env,
        stderr=subprocess.DEVNULL,
        preexec_fn=limited(256, hard),  # noqa: PLW1509 -- as above
    )
    try:
        assert answer(f"http://127.0.0.1:{port}/healthz").ok
        soft, _ = resource.prlimit(children(web.pid)[0], resource.RLIMIT_NOFILE)
        web.terminate()
        assert web.wait(40) == 0
    finally:
        web.kill()
        web.wait()
    # A socket for each request in flight, at the very least, and one for each client.
    assert soft > 1024 + 400


STOPPED = """
import os, signal, sys
from bridge.commands import processes

def stop(*_):
    os.kill(os.getpid(), signal.SIGTERM)
    return stop

processes.block_stop_signals()
sys.settrace(stop)
processes.wait_for_stop_signal()
"""


def test_a_signal_to_stop_is_taken_whenever_it_comes() -> None:
    """Send the signal before the process waits, and at each line of Python that it runs then."""
    subprocess.run([sys.executable, "-c", STOPPED], cwd=ROOT, check=True, timeout=60)


def test_the_sandbox_answers_like_hubspot(tmp_path: Path) -> None:
    port = free_port()
    sandbox = ("-m", "bridge", "sandbox", "--port", str(port))
    with running(Commands().env, tmp_path / "sandbox.log", *sandbox):
        url = f"http://127.0.0.1:{port}/files/v3/files/import-from-url/async/tasks/AAAAEZ6whGI/status"
        refused = answer(url)
    assert refused.status_code == 401
    assert refused.json()["category"] == "INVALID_AUTHENTICATION"


def test_stored_secrets_move_to_a_new_key_and_the_old_one_can_go(commands: Commands) -> None:
    old, new = commands.env["BRIDGE_SECRET_KEY"], Fernet.generate_key().decode()
    commands.said("clients", "add", "cms")
    commands.said("accounts", "set", "shop", given='{"access_token": "pat-na1-x"}')
    commands.env["BRIDGE_SECRET_KEY"] = f"{new},{old}"
    # The client's secret, the account's credentials, and the key check.
    assert commands.said("rotate-encryption").startswith("3 secrets")
    commands.env["BRIDGE_SECRET_KEY"] = old
    assert commands.run("migrate").returncode == 1
    commands.env["BRIDGE_SECRET_KEY"] = new
    assert commands.json("accounts", "list")[1]["auth"] == "token"
