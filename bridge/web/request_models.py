"""The base classes of request models, and the types of their fields, with validation and OpenAPI schema."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from functools import cached_property, partial
from typing import Annotated, Any, ClassVar, TypeVar, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic.config import JsonDict
from pydantic_core import ErrorDetails

from bridge.core.instants import read_rfc3339
from bridge.core.kinds import KINDS
from bridge.core.parsing import NAME, parse_name, parse_printable
from bridge.db import pagination
from bridge.db.accounts import DEFAULT
from bridge.db.engine import reading
from bridge.http import addresses
from bridge.web.dependencies import Dependencies
from bridge.web.problems import FieldError, Problem, invalid
from bridge.web.strict_json import dumps

MAX_METADATA_BYTES = 4096
MAX_DOCUMENT_BYTES = 16_384  # an import has a URL, which is long when it is signed, and a few words
MAX_DEPTH = 100  # recursive JSON parsers can go about that deep
MAX_FAULTS = 50
MAX_POINTER = 200


class Input(BaseModel):
    """Base of request models; an unknown field is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def cross_field_faults(cls, given: Mapping[str, Any]) -> Sequence[FieldError]:  # noqa: ARG003 -- for subclasses
        """Return the errors that concern several fields of `given` together. The fields are not validated yet."""
        return ()


class Body(Input):
    """A JSON body, validated strictly: the string "17" is not accepted as a number."""

    model_config = ConfigDict(strict=True)


class Query(Input):
    """Query parameters, sent as text.

    Only the parameters in `LISTS` may be repeated, or hold several values separated by commas.
    """

    LISTS: ClassVar[Collection[str]] = ()


Model = TypeVar("Model", bound=Input)


class ValidationContext:
    """Tells validators which accounts this bridge has, and which callback URLs its settings allow.

    Make a new instance for each request: an instance reads the accounts only once.
    """

    def __init__(self, dependencies: Dependencies) -> None:
        self._dependencies = dependencies
        self.callbacks = dependencies.callbacks

    def has_account(self, name: str) -> bool:
        """Return whether watches may use this account. `default` always exists, even without credentials."""
        return name == DEFAULT or name in self._stored_accounts

    @cached_property
    def _stored_accounts(self) -> Collection[str]:
        with reading(self._dependencies.engine) as connection:
            return self._dependencies.accounts.stored(connection)


def validated(
    model: type[Model],
    given: object,
    context: ValidationContext | None = None,
    *,
    known_faults: Sequence[FieldError] = (),
) -> Model | Problem:
    """Return `given` as an instance of `model`, or a 422 Problem that lists what is wrong with it.

    `known_faults` are faults that the caller has found: they come first in the list, and suffice for a Problem. The
    Problem has the first MAX_FAULTS faults, and the number of the others. Without a `context`, nothing checks whether
    an account exists or whether the settings allow a callback URL.
    """
    cross_field: Sequence[FieldError] = ()
    if isinstance(given, Mapping):
        # With half of a surrogate pair in a name, pydantic would report that alone. No field has such a name.
        given = {name.encode(errors="backslashreplace").decode(): value for name, value in given.items()}
        cross_field = model.cross_field_faults(given)
    try:
        made = model.model_validate(given, context=context)
    except ValidationError as error:
        # Values may be secret: they are left out here, and the messages of validators must not quote them.
        details = error.errors(include_url=False, include_input=False, include_context=False)
        return invalid(*_up_to_most([*known_faults, *map(_fault, details), *cross_field]))
    others = [*known_faults, *cross_field]
    return invalid(*_up_to_most(others)) if others else made


def _up_to_most(faults: Sequence[FieldError]) -> Sequence[FieldError]:
    if (more := len(faults) - MAX_FAULTS) <= 0:
        return faults
    return [*faults[:MAX_FAULTS], FieldError(pointer="", detail=f"has {more:,} more faults")]


def _fault(error: ErrorDetails) -> FieldError:
    pointer = "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in error["loc"])
    return FieldError(
        pointer=pointer[:MAX_POINTER], detail=_MESSAGES.get(error["type"]) or _plain_message(error["msg"])
    )


_MESSAGES = {
    "missing": "is required",
    "extra_forbidden": "is not a known field",
    "model_type": "must be a JSON object",
    "list_type": "must be a JSON array",
    "string_unicode": "must be text without half of a surrogate pair",
}


def _plain_message(message: str) -> str:
    text = message.removeprefix("Value error, ").partition(" after validation")[0]
    return re.sub("^(Input|String|List) should", "must", text)


def _known_account(name: str, info: ValidationInfo) -> str:
    context = cast("ValidationContext | None", info.context)
    if context and not context.has_account(name):
        raise ValueError("is not an account of this bridge")
    return name


def _callable_url(url: str, info: ValidationInfo) -> str:
    context = cast("ValidationContext | None", info.context)
    if problem := context and context.callbacks.problem_with(url):
        raise ValueError(f"cannot be used: {problem}")
    return url


def _cursor(text: str) -> pagination.Cursor:
    cursor = pagination.Cursor.read(text)
    if cursor is None:
        raise ValueError("must be a cursor that came with a page")
    return cursor


def _known_kind(kind: object) -> str:
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"must be one of {', '.join(KINDS)}")
    return kind


def _instant(text: object) -> datetime:
    try:
        return read_rfc3339(text)
    except ValueError as wrong:
        raise ValueError(f"{wrong}, a + in a query written as %2B") from None


def _object_text(given: object, max_bytes: int) -> str:
    """Return `given` as JSON in ASCII, which every database can store, with numbers exactly as sent.

    Raises ValueError if `given` is not a JSON object, is nested too deep, or would take more than `max_bytes` as
    compact JSON in UTF-8. The returned text has spaces and escapes, so it may be longer.
    """
    if not isinstance(given, dict):
        raise ValueError("must be a JSON object")  # noqa: TRY004 -- pydantic handles only ValueError
    if _is_deep(given):
        raise ValueError(f"must be nested at most {MAX_DEPTH} deep")
    text = dumps(given)
    # Escapes and spaces only make the text longer: when it is short enough, the compact form is short enough too.
    if len(text) > max_bytes and _compact_bytes(given) > max_bytes:
        raise ValueError(f"must be at most {max_bytes // 1024} KiB as compact JSON in UTF-8")
    return text


def _compact_bytes(given: object) -> int:
    return len(dumps(given, ascii_only=False, space="").encode(errors="surrogatepass"))


def _is_deep(value: object) -> bool:
    """Return whether the value is nested more than MAX_DEPTH deep."""
    # No recursion: the stack could overflow.
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return False
    return any(isinstance(value, dict | list) for value in level)


def _inside(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _digits(text: object) -> int:
    if not (isinstance(text, str) and text.isascii() and text.isdigit() and len(text) <= 9):
        raise ValueError("must be a whole number")
    return int(text)


Name = Annotated[str, Field(json_schema_extra={"pattern": f"^{NAME.pattern}$"}), AfterValidator(parse_name)]
AccountName = Annotated[Name, AfterValidator(_known_account)]
TaskId = Annotated[
    str,
    Field(min_length=1, max_length=255, json_schema_extra={"pattern": r"^[^\s\x00-\x1f\x7f]+$"}),
    AfterValidator(parse_printable),
]
# For the OpenAPI document only.
TaskKind = StrEnum("TaskKind", {kind: kind for kind in KINDS})  # type: ignore[misc] # mypy does not know the names
TaskKind.__doc__ = "Which HubSpot endpoint answers for a task."
Kind = Annotated[str, PlainValidator(_known_kind, json_schema_input_type=TaskKind)]
_HOST_SCHEMA: JsonDict = {"pattern": r"^[^\s\x00-\x1f\x7f/?#@\\]+$"}
Host = Annotated[
    str,
    Field(min_length=1, max_length=253, json_schema_extra=_HOST_SCHEMA),
    AfterValidator(parse_printable),
    AfterValidator(addresses.filter_host),
]
# For the OpenAPI document only: `CallbackSender.problem_with` validates callback URLs.
_URL_SCHEMA: JsonDict = {"format": "uri", "pattern": r"^https?://[^/?#@\\\s]+[^#\\\s]*$"}
CallbackUrl = Annotated[
    str,
    Field(min_length=1, max_length=2048, json_schema_extra=_URL_SCHEMA),
    AfterValidator(_callable_url),
]
Instant = Annotated[datetime, BeforeValidator(_instant, json_schema_input_type=datetime)]


def _object(max_bytes: int) -> PlainValidator:
    validate = partial(_object_text, max_bytes=max_bytes)
    return PlainValidator(validate, json_schema_input_type=dict[str, Any])


Document = Annotated[str, _object(MAX_DOCUMENT_BYTES)]
Metadata = Annotated[str, _object(MAX_METADATA_BYTES)]
# The bounds come first: otherwise they are missing in the OpenAPI document.
PageLimit = Annotated[int, Field(ge=1, le=250), BeforeValidator(_digits)]
_CURSOR_SCHEMA: JsonDict = {"pattern": r"^[A-Za-z0-9_-]+$"}
Cursor = Annotated[
    pagination.Cursor,
    BeforeValidator(_cursor),
    WithJsonSchema({"type": "string", "maxLength": 128, **_CURSOR_SCHEMA}),
]
TimeoutSeconds = Annotated[float, Field(ge=10, le=2_592_000)]
