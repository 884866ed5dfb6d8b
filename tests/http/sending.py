"""Senders of callbacks with the address guard on, for tests."""

from collections.abc import Mapping, Sequence
from typing import Any

from bridge.core.http_results import HttpResponse, NoResponse, NotSent
from bridge.http.callbacks import CallbackSender
from bridge.http.deadline import system_lookup
from tests.makers import NOW, SECRET
from tests.senders import a_sender

NOT_SENT = "The callback was not sent:"
BODY = b'{"type":"import.completed"}'


def sender(*, names: Mapping[str, Sequence[str]] | None = None, **others: Any) -> CallbackSender:
    """Return a sender that resolves names by `names` alone, or by the system when it is None."""
    lookup = system_lookup if names is None else names.__getitem__
    return a_sender(**{"timeout_seconds": 3, "allow": (), "lookup": lookup} | others)


def post(callbacks: CallbackSender, url: str) -> HttpResponse | NoResponse | NotSent:
    answer = callbacks.send(url, "wat_00000001", BODY, secrets=[SECRET], at=NOW)
    callbacks.close()
    return answer


def is_refused(answer: HttpResponse | NoResponse | NotSent) -> bool:
    return isinstance(answer, NotSent) and answer.reason.startswith(f"{NOT_SENT} the address is not ")
