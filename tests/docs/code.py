"""What the code says, for comparison with what the pages say of it."""

import argparse
import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from cryptography.fernet import Fernet
from pydantic import BaseModel

from bridge.commands import arguments
from bridge.settings import Settings
from bridge.web.app import RESOURCES, create_app
from bridge.web.response_models import ProblemSchema
from bridge.web.schemas import schema_name
from bridge.wiring import Bridge
from tests.docs.markdown import ROOT

LEVELS = {"info": "info", "warning": "warning", "error": "error", "exception": "error"}


@dataclass(slots=True)
class LogEvent:
    """A log event: all levels and fields that it is ever logged with."""

    levels: set[str] = field(default_factory=set)
    fields: set[str] = field(default_factory=set)


def log_events() -> dict[str, LogEvent]:
    """Return every event that the bridge logs, by name."""
    events: dict[str, LogEvent] = {}
    for path in sorted(ROOT.glob("bridge/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="log"), attr=method)) if method in LEVELS:
                    name = node.args[0]
                    assert isinstance(name, ast.Constant), f"{path}:{node.lineno}: no plain name"
                    event = events.setdefault(str(name.value), LogEvent())
                    event.levels.add(LEVELS[method])
                    event.fields |= {given.arg for given in node.keywords if given.arg} - {"exc_info"}
    return events


def commands() -> set[str]:
    """Return every command without its arguments: `clients add`, `serve` and so on."""
    return set(_leaves(arguments.parser()))


def _leaves(parser: argparse.ArgumentParser, path: str = "") -> Iterator[str]:
    families = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    for action in families:
        for name, below in action.choices.items():
            yield from _leaves(below, f"{path} {name}".strip())
    if not families:
        yield path


def models() -> dict[str, type[BaseModel]]:
    """Return the models that the OpenAPI document is made from, by the names that it has for them."""
    every: list[type[BaseModel]] = [ProblemSchema]
    for operation in (operation for resource in RESOURCES for operation in resource.operations):
        every += [operation.body] if operation.body else []
        every += [answered.model for answered in operation.responses.values()]
    return {schema_name(model.__name__): model for model in every}


def texts() -> str:
    """Return all texts in the code of the bridge, as they are when it runs."""
    nodes = (
        node
        for path in ROOT.glob("bridge/**/*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    )
    return "\n".join(str(node.value) for node in nodes if isinstance(node, ast.Constant))


def routes() -> set[tuple[str, str]]:
    """Return the method and path of every route, its variables as `{}`."""
    return {
        (method, re.sub(r"<[^>]+>", "{}", rule.rule))
        for rule in create_app(_bridge().web_dependencies).url_map.iter_rules()
        for method in rule.methods or ()
    }


def _bridge(**environ: str) -> Bridge:
    # With a key of its own, or a file for one would be made where the tests run.
    own = {"BRIDGE_SECRET_KEY": Fernet.generate_key().decode()}
    return Bridge(Settings.load(own | environ))


def default_of(name: str) -> Any:
    """Return what a setting is when its variable is not set."""
    return next(f.default for f in Settings.model_fields.values() if f.alias == name)
