"""A bare Flask endpoint that reads JSON and writes JSON: what gunicorn and Flask cost by themselves."""

from collections.abc import Mapping

from flask import Flask, request

app = Flask(__name__)


@app.post("/v1/watches")
def register() -> tuple[Mapping[str, object], int]:
    """Answer with what came, as large as the bridge's own answer."""
    return {**request.get_json(), "filler": "x" * 450}, 201
