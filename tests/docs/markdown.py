"""What the tests read out of the pages: code blocks, tables, links and headings."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])

_BLOCK = re.compile(r"(?:<!-- (\w+) -->\n)?( *)```(\w+)\n(.*?)\n *```", re.DOTALL)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_FUNCTION = re.compile(r"\[`(\w+)\(\)`\]\(([\w/]+\.py)\)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """A fenced block: its language, its text, and the word of a comment just above it, if any."""

    language: str
    text: str
    tag: str | None


def page(name: str) -> str:
    """Return a page by its path from the root."""
    return (ROOT / name).read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """Return what is under one heading, with whatever its smaller headings hold."""
    outline = prose(text)
    found = re.search(rf"^(#+) {re.escape(heading)}$", outline, re.MULTILINE)
    assert found, f"no heading {heading!r}"
    end = re.compile(rf"^#{{1,{len(found[1])}}} ", re.MULTILINE).search(outline, found.end())
    return text[found.end() : end.start() if end else len(text)]


def blocks(text: str, *languages: str) -> list[Block]:
    """Return the blocks of these languages, all when none is named."""
    every = (
        Block(language=language, text=dedent(indent + body), tag=tag or None)
        for tag, indent, language, body in _BLOCK.findall(text)
    )
    return [block for block in every if not languages or block.language in languages]


def prose(text: str) -> str:
    """Return a page with its blocks blanked out: what looks like a heading or a link in there is none."""
    return _BLOCK.sub(lambda block: re.sub(r".", " ", block[0]), text)


def rows(text: str) -> list[list[str]]:
    """Return the rows of the first table, without its head; cells as they are written."""
    lines = re.search(r"(?:^\|.*\|\n)+", f"{text}\n", re.MULTILINE)
    assert lines, "no table"
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[0].splitlines()[2:]]


def codes(cell: str) -> list[str]:
    """Return what is set as code."""
    return re.findall(r"`([^`]+)`", cell)


def links(text: str) -> list[str]:
    """Return the targets of all links."""
    return _LINK.findall(prose(text))


def functions(text: str) -> list[tuple[str, Path]]:
    """Return the functions that a text links, each with its file, in the order of the text."""
    return [(function, ROOT / file) for function, file in _FUNCTION.findall(text)]


def anchors(text: str) -> Iterator[str]:
    """Yield the names by which headings are linked to, as GitHub makes them."""
    for heading in _HEADING.findall(prose(text)):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
