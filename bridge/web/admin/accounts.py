"""The page of HubSpot accounts: shows them without their secrets, and sets, checks and removes them."""

import json
from contextlib import suppress
from typing import Any

from flask import flash, redirect, request, url_for
from werkzeug.wrappers import Response

from bridge.db.engine import reading
from bridge.web.admin.blueprint import admin, call, or_abort, page
from bridge.web.api.account_checks import check_account
from bridge.web.api.accounts import AccountSettings, put_account, remove_account
from bridge.web.problems import Problem
from bridge.web.request_models import Name, validated
from bridge.web.statistics import account_statistics, detection_delays_today

# HubSpot's limit for the share of a day's requests that fail.
MOST_ERRORS_SHARE = 0.05
FIELDS = tuple(AccountSettings.model_fields)
LONGEST_MESSAGE = 500  # flashed messages are kept in the cookie


class NamedAccount(AccountSettings):
    """The form of an account: its settings, and its name."""

    name: Name


@admin.get("/accounts")
def list_accounts(problem: Problem | None = None) -> Response:
    """Show all accounts; `problem` says what is wrong with the form that was sent."""
    dependencies, now = call().dependencies, call().now
    with reading(dependencies.engine) as connection:
        every = account_statistics(connection, dependencies.accounts, now)
        delays = detection_delays_today(connection, now)
    return page(
        "admin/accounts.html",
        problem.status if problem else 200,
        accounts=every,
        delays=delays,
        defaults=dependencies.accounts.environment,
        most_errors_share=MOST_ERRORS_SHARE,
        form=request.form,
        problem=problem,
    )


@admin.post("/accounts")
def set_account() -> Response:
    """Add an account, or replace all settings of an existing one.

    If the account exists and the form has the field `new`, nothing is changed, and the answer is a 409.
    """
    fields: dict[str, Any] = {
        name: value.strip() for name in ("name", *FIELDS) if (value := request.form.get(name, "")).strip()
    }
    with suppress(ValueError):
        fields["rate_share"] = float(fields["rate_share"]) if "rate_share" in fields else None
    body = validated(NamedAccount, fields)
    if not isinstance(body, Problem) and "new" in request.form and _is_shown(body.name):
        detail = f"The account {body.name} is there already: change it on its card."
        body = Problem(status=409, detail=detail)
    if isinstance(body, Problem):
        return list_accounts(body)
    put_account(call(), body.name, body)
    flash(f"The account {body.name} is set. Check it now to see whether HubSpot takes it.")
    return redirect(url_for("admin.list_accounts"), 303)


def _is_shown(name: str) -> bool:
    with reading(call().dependencies.engine) as connection:
        return name in call().dependencies.accounts.list_all(connection)


@admin.post("/accounts/<name:name>/check")
def check(name: str) -> Response:
    """Ask HubSpot whether it accepts the account's credentials, and show the result."""
    found = json.loads(str(or_abort(check_account(call(), name)).text))
    flash(f"{name}: {found['summary']}"[:LONGEST_MESSAGE], "good" if found["ok"] else "bad")
    return redirect(url_for("admin.list_accounts"), 303)


@admin.post("/accounts/<name:name>/remove")
def remove(name: str) -> Response:
    """Remove a stored account."""
    or_abort(remove_account(call(), name))
    flash(f"The account {name} is removed.")
    return redirect(url_for("admin.list_accounts"), 303)
