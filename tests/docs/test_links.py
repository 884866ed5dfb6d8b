"""Links within the project, the decisions, and the tests that the pages name."""

import re

import pytest

from tests.docs.markdown import PAGES, ROOT, anchors, links, page, prose, section

README = page("README.md")
ARCHITECTURE = page("ARCHITECTURE.md")
ALL = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in PAGES}
each_page = pytest.mark.parametrize("name", ALL)


@each_page
def test_every_link_within_the_project_leads_somewhere(name: str) -> None:
    for link in links(ALL[name]):
        path, _, anchor = link.partition("#")
        if not link.startswith("https://"):
            target = (ROOT / name).parent / path if path else ROOT / name
            assert target.exists(), link
            assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link


def test_the_readme_leads_to_every_page() -> None:
    pages = {name for name in ALL if "decisions" not in name} - {"README.md"}
    assert pages <= set(links(README))


def test_every_decision_has_its_three_parts_and_is_linked() -> None:
    decisions = sorted(name for name in ALL if name.startswith("docs/decisions/"))
    assert decisions == links(section(ARCHITECTURE, "Decisions"))
    for name in decisions:
        assert re.findall(r"^## (.+)$", prose(ALL[name]), re.MULTILINE) == [
            "Context",
            "Decision",
            "What it costs",
        ]


@pytest.mark.parametrize("name", ["docs/reliability.md", "docs/security.md"])
def test_every_test_that_a_page_names_is_there(name: str) -> None:
    named = re.findall(r"`(tests/\S+\.py)::(test_\w+)`", page(name))
    assert named
    for path, test in named:
        assert f"\ndef {test}(" in (ROOT / path).read_text(encoding="utf-8"), (path, test)
