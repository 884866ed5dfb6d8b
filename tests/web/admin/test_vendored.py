"""The vendored files have the versions and hashes of their tables, and the page loads no other files."""

import re
from hashlib import sha256
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT, codes, rows
from tests.web.admin.operator import Operator
from tests.web.api import Api

FOLDERS = [ROOT / "bridge/web/static/vendor", Path(__file__).parent / "vendor"]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.parent.name)
def test_each_vendored_file_is_the_published_one_with_its_licence_beside_it(folder: Path) -> None:
    table = rows((folder / "README.md").read_text(encoding="utf-8"))
    licences = {codes(row[3])[0] for row in table}
    files = {codes(row[0])[0]: codes(row[4])[0] for row in table}
    assert {name: sha256((folder / name).read_bytes()).hexdigest() for name in files} == files
    assert {path.name for path in folder.iterdir()} == {*files, *licences, "README.md"}


def test_the_page_loads_files_of_this_server_alone(sqlite_api: Api) -> None:
    operator = Operator(sqlite_api)
    loaded = re.findall(r'<(?:link|script|img)[^>]* (?:href|src)="([^"]+)"', operator.get("/sign-in").text)
    assert len(loaded) >= 6
    for path in loaded:
        assert path.startswith("/static/")
        answer = operator.browser.get(path, buffered=True)
        assert answer.status_code == 200
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
