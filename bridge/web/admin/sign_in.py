"""The sign-in page: signs admins in with their API key, and out."""

from flask import g, redirect, request, url_for
from werkzeug.wrappers import Response

from bridge.web.admin import session
from bridge.web.admin.blueprint import admin, dependencies, page
from bridge.web.problems import Problem


@admin.get("/sign-in")
def sign_in() -> Response:
    """Show the sign-in form."""
    return page("admin/sign_in.html", back_to=session.safe_path(request.args.get("next", "")))


@admin.post("/sign-in")
def begin_session() -> Response:
    """Sign in with the key from the form if it is an admin's key; else show the form with the problem."""
    back_to = session.safe_path(request.args.get("next", ""))
    key = request.form.get("key", "").strip()
    known = session.authenticate_admin(dependencies(), key, g.now)
    if isinstance(known, Problem):
        return page("admin/sign_in.html", known.status, known.headers, back_to=back_to, problem=known)
    session.begin(dependencies(), key)
    return redirect(back_to, 303)


@admin.post("/sign-out")
def end_session() -> Response:
    """Sign out."""
    session.end()
    return redirect(url_for("admin.sign_in"), 303)
