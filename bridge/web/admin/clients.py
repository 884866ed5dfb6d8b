"""The page of clients: adds and revokes them, and gives them new keys and secrets, which are shown once."""

import json

from flask import flash, redirect, request, url_for
from werkzeug.wrappers import Response

from bridge.core import parsing
from bridge.steps import clients
from bridge.web.admin import session
from bridge.web.admin.blueprint import admin, call, dependencies, or_abort, page
from bridge.web.api.clients import (
    NewClient,
    SecretRotation,
    add_client,
    revoke_client,
    rotate_client_key,
    rotate_client_secret,
)
from bridge.web.operations import Reply
from bridge.web.problems import Problem
from bridge.web.request_models import validated


@admin.get("/clients")
def list_clients(problem: Problem | None = None) -> Response:
    """Show all clients, including revoked ones.

    `problem` says why the client in the form could not be added; None when no form was sent.
    """
    return page(
        "admin/clients.html",
        problem.status if problem else 200,
        clients=clients.list_all(call().dependencies.engine),
        form=request.form,
        problem=problem,
    )


@admin.post("/clients")
def make_client() -> Response:
    """Add a client, and show its key and secret once."""
    name = request.form.get("name", "").strip()
    body = validated(NewClient, {"name": name, "admin": "admin" in request.form})
    answer = body if isinstance(body, Problem) else add_client(call(), body)
    return list_clients(answer) if isinstance(answer, Problem) else _show_once(answer)


@admin.post("/clients/<name:name>/rotate-key")
def rotate_key(name: str) -> Response:
    """Give a client a new key, and show it once. An admin who rotates their own key stays signed in."""
    answer = or_abort(rotate_client_key(call(), name))
    if name == call().caller.name and not call().caller.from_environment:
        session.replace_key(dependencies(), json.loads(str(answer.text))["api_key"])
    return _show_once(answer)


@admin.post("/clients/<name:name>/rotate-secret")
def rotate_secret(name: str) -> Response:
    """Give a client a new signing secret, and show the secret once.

    During the `overlap` from the form, callbacks are signed with the old secret, too.
    """
    body = or_abort(validated(SecretRotation, {"overlap": request.form.get("overlap", parsing.OVERLAP)}))
    return _show_once(or_abort(rotate_client_secret(call(), name, body)))


@admin.post("/clients/<name:name>/revoke")
def revoke(name: str) -> Response:
    """Revoke a client's key permanently."""
    or_abort(revoke_client(call(), name))
    flash(f"{name} is revoked. Its open watches go on.")
    return redirect(url_for("admin.list_clients"), 303)


@admin.get("/clients/shown-once")
def show_secret() -> Response:
    """Show the new key or secret, once; if there is none to show, redirect to the list of clients."""
    if request.method == "HEAD":
        return Response()  # the GET request after it still shows the key or secret
    made = session.take_to_show(dependencies(), call().now)
    if made is None:
        flash("A new key or secret is shown once. If it was not copied, make another one.", "bad")
        return redirect(url_for("admin.list_clients"), 303)
    return page("admin/secret.html", **json.loads(made))


def _show_once(answer: Reply) -> Response:
    """Put `answer`, which holds a new key or secret, into the session; redirect to the page that shows it once.

    Because of the redirect, a reload in the browser does not send the form again.
    """
    session.keep_to_show(dependencies(), str(answer.text), call().now)
    return redirect(url_for("admin.show_secret"), 303)
