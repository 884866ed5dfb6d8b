"""Runs the quickstart's commands from the first to the last."""

import sys
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT, blocks, page
from tests.docs.reader import Reader, values, wait_until

COMMANDS = [block.text for block in blocks(page("docs/quickstart.md"), "sh")]


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    """A reader who begins, and whose files are outside the project's folder."""
    reader = Reader(tmp_path)
    files = {name: f"{tmp_path}/{name}" for name in ("client.json", "inbox.db", "bridge.db")}
    here = f"env -C {tmp_path} PORT={reader.ports['9000']} {sys.executable} {ROOT}/examples"
    # The reader has put its own Python in by then.
    reader.known |= files | {f"{sys.executable} examples": here}
    return reader


def test_the_quickstart_leads_to_a_verified_callback_and_leaves_nothing(reader: Reader) -> None:
    serve, sandbox, add, receive, start, look, forge, lose_and_ask, clean_up = COMMANDS
    with (
        reader.installation(sandbox, serve, add),
        reader.terminal(receive, reader.url("9000")) as receiver,
    ):
        receiver.await_ready()
        [watch] = values(reader.run(start))
        assert watch["state"] == "watching"
        called_back = f"import.completed {watch['task_id']}"
        receiver.until(lambda: called_back in receiver.printed)
        wait_until(lambda: [w["id"] for w in values(reader.run(look))[0]["watches"]] == [watch["id"]])
        assert reader.run(forge) == "400\n"
        asked = reader.run(lose_and_ask)
        assert f"asked for {watch['id']}" in asked
        assert asked.endswith("\n1 callback was missing\n")
        receiver.until(lambda: receiver.printed.count(called_back) == 2)
        assert reader.run(lose_and_ask.splitlines()[-1]) == "0 callbacks were missing\n"
    reader.run(clean_up)
    assert not [path.name for path in reader.folder.iterdir() if "." in path.name]
