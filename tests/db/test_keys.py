"""Ids of watches, the key file, and the encryption of secrets."""

import os
import re
import resource
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from bridge.db import encryption, key_file
from bridge.db.encryption import Cipher, WrongSecretKey
from bridge.db.ids import earliest_watch_id, latest_watch_id, new_watch_id
from bridge.db.key_file import NoKeyFile
from tests.makers import NOW, later
from tests.threads import at_once

OLD, NEW, OTHER = (Fernet.generate_key().decode() for _ in range(3))

# Each waits for the file `go`, so that all are there when they start.
MAKE_AND_READ = """
import sys, time
from pathlib import Path
from bridge.db import key_file as keyfile
folder = Path(sys.argv[1])
print("ready", flush=True)
while not (folder / "go").exists():
    time.sleep(0.001)
keyfile.make(folder / "bridge.db.key")
print(keyfile.read(folder / "bridge.db.key"))
"""


def test_ids_match_what_the_contract_says() -> None:
    ids = [new_watch_id(NOW) for _ in range(1_000)]
    assert all(re.fullmatch(r"[A-Za-z0-9_]{8,64}", id_) and id_.startswith("wat_") for id_ in ids)


def test_ids_of_one_instant_are_in_the_order_of_their_making() -> None:
    ids = [new_watch_id(NOW) for _ in range(1_000)]
    assert sorted(set(ids)) == ids


@given(st.lists(st.floats(0, 59), min_size=2))
def test_ids_stay_in_order_while_the_clock_is_set_back_by_less_than_a_minute(steps: list[float]) -> None:
    new_watch_id(later(7_200))  # far enough ahead of NOW not to count
    ids = [new_watch_id(later(step)) for step in steps]
    assert sorted(set(ids)) == ids


@given(st.lists(st.floats(-3_600, 3_600), min_size=2))
def test_an_id_is_never_more_than_a_minute_ahead_of_its_watch(steps: list[float]) -> None:
    for step in steps:
        now = later(step)
        assert earliest_watch_id(now) <= new_watch_id(now) < latest_watch_id(now + timedelta(microseconds=1))


@given(st.datetimes(timezones=st.just(UTC)))
def test_the_bounds_of_any_instant_are_on_the_right_side_of_an_id(instant: datetime) -> None:
    made = new_watch_id(NOW)
    assert (earliest_watch_id(instant) < made) or instant > NOW
    assert (made < latest_watch_id(instant)) or instant <= NOW


def test_ids_of_later_instants_sort_later() -> None:
    far = NOW + timedelta(days=365 * 100)
    assert new_watch_id(NOW) < new_watch_id(far) < new_watch_id(far + timedelta(microseconds=10))


def test_threads_never_make_the_same_id() -> None:
    ids = [id_ for mine in at_once(8, lambda _: [new_watch_id(NOW) for _ in range(500)]) for id_ in mine]
    assert len(set(ids)) == 4_000


def test_ids_cannot_be_guessed_from_each_other() -> None:
    ends = {new_watch_id(NOW)[-16:] for _ in range(1_000)}
    assert len(ends) == 1_000
    assert all(len({end[place] for end in ends}) > 16 for place in range(16))


def test_a_key_file_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "bridge.db.key"
    before = os.umask(0)
    try:
        key_file.make(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    key = key_file.read(path)
    assert Cipher([key]).decrypt(Cipher([key]).encrypt("x")) == "x"
    key_file.make(path)
    assert key_file.read(path) == key
    assert list(tmp_path.iterdir()) == [path]


def test_of_key_files_that_are_made_at_once_one_stays(tmp_path: Path) -> None:
    path = tmp_path / "bridge.db.key"

    def make(_: int) -> str:
        key_file.make(path)
        return key_file.read(path)

    assert len(set(at_once(8, make))) == 1
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"", b"short", b"\xff"])
def test_a_key_file_without_a_key_is_told_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bridge.db.key"
    path.write_bytes(content)
    key_file.make(path)
    with pytest.raises(NoKeyFile, match=f"{path} holds no key that can be read"):
        key_file.read(path)
    assert path.read_bytes() == content


@contextmanager
def no_room() -> Iterator[None]:
    """Let every write to a file fail, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_key_file_that_cannot_be_made_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "bridge.db.key"
    with no_room(), pytest.raises(NoKeyFile, match=f"{path} cannot be made: File too large. Make room"):
        key_file.make(path)
    assert not list(tmp_path.iterdir())
    key_file.make(path)
    assert key_file.read(path)


def test_a_folder_in_place_of_the_key_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(NoKeyFile, match=f"{tmp_path} holds no key that can be read"):
        key_file.read(tmp_path)


def test_eight_processes_that_start_at_once_get_the_same_key(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MAKE_AND_READ, str(tmp_path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(8)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    (tmp_path / "go").touch()
    keys = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert len(keys) == 1
    assert keys == {(tmp_path / "bridge.db.key").read_text().strip()}


def test_the_newest_key_encrypts_and_every_key_decrypts() -> None:
    before, after = Cipher([OLD]), Cipher([NEW, OLD])
    assert after.decrypt(before.encrypt("secret")) == "secret"
    with pytest.raises(WrongSecretKey):
        before.decrypt(after.encrypt("secret"))


def test_a_secret_can_be_carried_over_to_the_newest_key() -> None:
    both = Cipher([NEW, OLD])
    token = both.encrypt(both.decrypt(Cipher([OLD]).encrypt("secret")))
    assert Cipher([NEW]).decrypt(token) == "secret"


def test_a_secret_that_no_key_opens_is_told_in_words_without_it() -> None:
    token = Cipher([OTHER]).encrypt("hunter2")
    with pytest.raises(WrongSecretKey, match="encrypted with another BRIDGE_SECRET_KEY") as wrong:
        Cipher([NEW, OLD]).decrypt(token)
    assert "hunter2" not in str(wrong.value)
    assert token not in str(wrong.value)
    assert wrong.value.__cause__ is None


@pytest.mark.parametrize("key", ["", "short", "!" * 44])
def test_a_key_that_is_none_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="Fernet key"):
        Cipher([key])


@pytest.mark.parametrize(
    ("keys", "fits"),
    [
        pytest.param([OLD], True, id="the same"),
        pytest.param([NEW, OLD], True, id="a new one beside it"),
        pytest.param([NEW], False, id="a new one instead"),
    ],
)
def test_the_key_check_tells_at_the_start_whether_the_keys_fit(
    engine: Engine, keys: list[str], *, fits: bool
) -> None:
    with engine.begin() as connection:
        encryption.check_keys(connection, Cipher([OLD]))
    with engine.begin() as connection:
        if fits:
            encryption.check_keys(connection, Cipher(keys))
        else:
            with pytest.raises(WrongSecretKey):
                encryption.check_keys(connection, Cipher(keys))
    with engine.begin() as connection:
        encryption.check_keys(connection, Cipher([OLD]))


def test_a_database_is_used_once_the_key_check_is_there(engine: Engine) -> None:
    with engine.begin() as connection:
        assert not encryption.is_used(connection)
        encryption.check_keys(connection, Cipher([OLD]))
        assert encryption.is_used(connection)


def test_the_key_check_is_written_once_by_processes_that_start_at_once(engine: Engine) -> None:
    def start(_: int) -> None:
        with engine.begin() as connection:
            encryption.check_keys(connection, Cipher([NEW]))

    at_once(8, start)
    with engine.begin() as connection, pytest.raises(WrongSecretKey):
        encryption.check_keys(connection, Cipher([OLD]))
