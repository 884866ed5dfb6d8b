"""The Flask blueprint of the admin pages: sign-in check, CSRF check, error pages, and helpers for views."""

from collections.abc import Mapping
from typing import TypeVar, cast

from flask import Blueprint, Response, abort, current_app, g, redirect, render_template, request, url_for
from flask_wtf import CSRFProtect
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as BaseResponse

from bridge.web.admin import session
from bridge.web.auth import Caller
from bridge.web.dependencies import Dependencies
from bridge.web.errors import problem_of
from bridge.web.operations import ApiCall
from bridge.web.problems import Problem

Value = TypeVar("Value")

EXTENSION = "bridge"

# Only scripts and styles of this server; the style sheet Pico draws its arrows and ticks as `data:` images.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


admin = Blueprint("admin", __name__, url_prefix="/admin")


def dependencies() -> Dependencies:
    """Return the application's dependencies, which the REST API uses too."""
    return cast("Dependencies", current_app.extensions[EXTENSION])


def call() -> ApiCall:
    """Return this request as an ApiCall for the API's operations, with the signed-in admin as the caller."""
    return ApiCall(dependencies=dependencies(), caller=g.caller, now=g.now)


@admin.before_request
def _require_admin() -> BaseResponse | None:
    g.now = dependencies().clock()
    try:
        cast("CSRFProtect", current_app.extensions["csrf"]).protect()
    except CSRFError:
        # When another tab has signed in meanwhile, this tab's form is too old, and no longer needed.
        if request.endpoint == "admin.begin_session" and _is_signed_in():
            return redirect(session.safe_path(request.args.get("next", "")), 303)
        raise
    if request.endpoint in ("admin.sign_in", "admin.begin_session"):
        return None
    caller = session.caller(dependencies(), g.now)
    if isinstance(caller, Problem):
        return _redirect_to_sign_in()
    g.caller, g.client = caller, caller.name
    # PostgreSQL takes no NUL in a text. The API's models refuse it, but not all pages use them.
    if any("\0" in text for text in (request.path, *request.args.values(), *request.form.values())):
        return _problem_page(Problem(status=400, detail="What was sent holds a NUL character."))
    return None


def _is_signed_in() -> bool:
    return isinstance(session.caller(dependencies(), g.now), Caller)


def _redirect_to_sign_in() -> BaseResponse:
    here = request.full_path.rstrip("?") if request.method == "GET" else url_for("admin.overview")
    if "HX-Request" in request.headers:
        # htmx would follow a redirect, and insert the sign-in form into the page that it refreshes.
        there = request.headers.get("HX-Current-URL", "")
        return Response(
            status=401, headers={"HX-Redirect": url_for("admin.sign_in", next=session.safe_path(there))}
        )
    return redirect(url_for("admin.sign_in", next=here), 303)


@admin.after_request
def _add_policy(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = POLICY
    return response


@admin.errorhandler(Exception)
def _handle_error(error: Exception) -> Response:
    problem = problem_of(error)
    if isinstance(error, HTTPException) and error.code == 400:
        detail = "The form is too old, or was not sent from this page. Go back, reload the page, and send it again."
        problem = Problem(status=400, detail=detail)
    return _problem_page(problem)


def _problem_page(problem: Problem) -> Response:
    return page("admin/problem.html", problem.status, problem.headers, problem=problem.members())


def or_abort(answer: Value | Problem) -> Value:
    """Return the answer; if it is a Problem, end the request with the problem's page."""
    if isinstance(answer, Problem):
        abort(_problem_page(answer))
    return answer


def page(
    template: str, status: int = 200, headers: Mapping[str, str] | None = None, /, **values: object
) -> Response:
    """Return a rendered template as a response."""
    return Response(
        render_template(template, **values),
        status,
        dict(headers or {}),
        content_type="text/html; charset=utf-8",
    )


@admin.get("/<path:unknown>")
def unknown(unknown: str) -> Response:  # noqa: ARG001 -- Flask passes it
    """Answer an unknown path under /admin with a 404 page."""
    return _problem_page(Problem(status=404, detail="There is no such page."))
