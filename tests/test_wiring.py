"""What the parts of a process do when they are built."""

from pathlib import Path

from sqlalchemy.pool import QueuePool

from bridge.settings import Settings
from bridge.startup import prepare
from bridge.wiring import Bridge


def test_a_process_that_forks_after_its_key_is_read_hands_on_no_connection(tmp_path: Path) -> None:
    settings = Settings.load({"DATABASE_URL": f"sqlite:///{tmp_path}/bridge.db"})
    first = Bridge(settings)
    first.engine.connect().close()
    first.cipher.encrypt("a secret")
    assert isinstance(first.engine.pool, QueuePool)
    assert first.engine.pool.checkedin() == 0
    prepare(first)
    first.engine.dispose()
