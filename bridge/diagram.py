"""`python -m bridge.diagram` prints the states of a watch as a Mermaid diagram.

The diagram is made from `bridge.core.watch.TRANSITIONS`. In FILE it stands between the marks BEGIN and END:
`--check FILE` ends with status 1 when the diagram in FILE is out of date, `--write FILE` replaces it.
"""

import sys
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from pathlib import Path

from bridge.core.watch import OPEN, TRANSITIONS, State

BEGIN, END = "<!-- states -->", "<!-- /states -->"


def mermaid() -> str:
    """Return the diagram's text: arrows from state to state, each labelled with the events that cause the change."""
    return "\n".join(["stateDiagram-v2", *(f"    {arrow}" for arrow in _arrows())])


def _arrows() -> Iterator[str]:
    yield f"[*] --> {State.WATCHING}: registered"
    events: dict[tuple[State, State], list[str]] = {}
    for (before, event), after in TRANSITIONS.items():
        events.setdefault((before, after), []).append(event)
    for (before, after), names in events.items():
        yield f"{before} --> {after}: {', '.join(names)}"
    for state in State:
        if state not in OPEN:
            yield f"{state} --> [*]"


def renewed(text: str) -> str:
    """Return `text`, which is Markdown, with the part between BEGIN and END replaced by the current diagram.

    Raises ValueError unless BEGIN and END each occur once, in this order.
    """
    if (text.count(BEGIN), text.count(END)) != (1, 1) or text.index(BEGIN) > text.index(END):
        raise ValueError(f"one place for the diagram is missing: {BEGIN} … {END}")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n```mermaid\n{mermaid()}\n```\n{END}{after}"


def main(arguments: Sequence[str]) -> str | None:
    """Run the command with these arguments; return an error message, or None for success."""
    parser = ArgumentParser(prog="python -m bridge.diagram", description="The states of a watch, as Mermaid.")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--check", type=Path, metavar="FILE", help="fail when the diagram in FILE is stale")
    action.add_argument("--write", type=Path, metavar="FILE", help="renew the diagram in FILE")
    given = parser.parse_args(arguments)
    file: Path | None = given.check or given.write
    if file is None:
        sys.stdout.write(f"{mermaid()}\n")
        return None
    try:
        text = file.read_text(encoding="utf-8")
        new = renewed(text)
    except (OSError, ValueError) as problem:
        return f"{file}: {problem}"
    if given.check:
        return None if text == new else f"{file}: stale; run: python -m bridge.diagram --write {file}"
    file.write_text(new, encoding="utf-8")
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
