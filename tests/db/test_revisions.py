"""Revisions only add, so that the release before goes on working while a new one is rolled out."""

import ast
from collections.abc import Iterator
from hashlib import sha256

import pytest

from bridge.db.migrations import ROOT

REVISIONS = sorted((ROOT / "migrations" / "versions").glob("*.py"))
# Databases in the world were made by it: it stays as it was released.
FIRST = "f01816d30a8cff2f87fee990670ce1927ada9fa3877c736edde21aa137055fdd"
# On SQLite `batch_alter_table` makes a table anew and drops the old one: with foreign keys on, and they cannot
# be switched off in a transaction, the answers and attempts of all watches would go with it.
NEVER = ("drop_", "rename_", "batch_alter_table")


def breaches(revision: str) -> list[str]:
    """Return the operations of a revision that could break the release before."""
    upgrade = next(
        node
        for node in ast.parse(revision).body
        if isinstance(node, ast.FunctionDef) and node.name == "upgrade"
    )
    return [breach for node in ast.walk(upgrade) for breach in _breaches(node)]


def _breaches(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield from (word for word in ("DROP", "RENAME", "NOT NULL") if _says(node.value, word))
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return
    name = node.func.attr
    if name.startswith(NEVER):
        yield name
    if name == "alter_column" and _options(node).keys() & {"new_column_name", "nullable", "type_"}:
        yield name
    if name == "add_column" and any(_must_be_given(argument) for argument in node.args):
        yield name


def _says(statement: str, word: str) -> bool:
    # `IS NOT NULL` is a condition, not a promise.
    return word in statement.upper().replace("IS NOT NULL", "").replace("\n", " ")


def _must_be_given(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    nullable = _options(node).get("nullable")
    return (
        isinstance(nullable, ast.Constant)
        and nullable.value is False
        and "server_default" not in _options(node)
    )


def _options(call: ast.Call) -> dict[str | None, ast.expr]:
    return {option.arg: option.value for option in call.keywords}


def test_the_first_revision_is_as_it_was_released() -> None:
    assert sha256(REVISIONS[0].read_bytes()).hexdigest() == FIRST


@pytest.mark.parametrize("number", range(1, len(REVISIONS)))
def test_a_revision_only_adds(number: int) -> None:
    assert breaches(REVISIONS[number].read_text()) == []


@pytest.mark.parametrize(
    ("step", "found"),
    [
        ("op.add_column('watches', sa.Column('a', sa.Text(), nullable=True))", []),
        ("op.add_column('watches', sa.Column('a', sa.Text(), nullable=False, server_default=''))", []),
        ("op.add_column('watches', sa.Column('a', sa.Text(), nullable=False))", ["add_column"]),
        ("op.create_table('a', sa.Column('a', sa.Text(), nullable=False))", []),
        ("op.create_index('a', 'b', ['c'], sqlite_where=sa.text('c IS NOT NULL'))", []),
        ("op.alter_column('watches', 'a', nullable=False)", ["alter_column"]),
        ("op.alter_column('watches', 'a', new_column_name='b')", ["alter_column"]),
        ("op.drop_column('watches', 'a')", ["drop_column"]),
        ("op.drop_table('watches')", ["drop_table"]),
        ("op.rename_table('watches', 'a')", ["rename_table"]),
        ("op.execute('ALTER TABLE watches DROP COLUMN a')", ["DROP"]),
        ("op.execute('alter table watches rename to a')", ["RENAME"]),
        ("op.execute('ALTER TABLE watches ADD a INTEGER NOT NULL')", ["NOT NULL"]),
        ("with op.batch_alter_table('watches') as table: pass", ["batch_alter_table"]),
    ],
)
def test_what_the_release_before_might_not_survive_is_found(step: str, found: list[str]) -> None:
    assert breaches(f"def upgrade():\n    {step}\n") == found
