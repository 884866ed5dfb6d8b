"""Responses in gzip."""

import gzip
import json

import pytest
import requests
from waitress.buffers import ReadOnlyFileBasedBuffer

from tests.reliability.processes import ROOT
from tests.web.api import Api
from tests.web.wire import Web


@pytest.mark.parametrize("accepted", ["gzip", "br, gzip;q=0.5", "*", "GZIP"])
def test_a_large_answer_comes_in_gzip_to_who_takes_that(sqlite_api: Api, accepted: str) -> None:
    plain = sqlite_api.nobody.get("/openapi.json")
    response = sqlite_api.nobody.send("GET", "/openapi.json", headers={"Accept-Encoding": accepted})
    assert response.headers["Content-Encoding"] == "gzip"
    assert response.headers["Vary"] == plain.headers["Vary"] == "Accept-Encoding"
    assert int(response.headers["Content-Length"]) == len(response.data) < len(plain.data) / 4
    assert json.loads(gzip.decompress(response.data)) == plain.json


@pytest.mark.parametrize("accepted", ["identity", "br", "gzip;q=0", ""])
def test_who_does_not_take_gzip_gets_none(sqlite_api: Api, accepted: str) -> None:
    response = sqlite_api.nobody.send("GET", "/openapi.json", headers={"Accept-Encoding": accepted})
    assert "Content-Encoding" not in response.headers


def test_a_small_answer_stays_as_it_is(sqlite_api: Api) -> None:
    response = sqlite_api.nobody.send("GET", "/healthz", headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in response.headers


def test_a_file_stays_as_it_is(sqlite_api: Api) -> None:
    # As waitress serves it.
    environ = {"wsgi.file_wrapper": ReadOnlyFileBasedBuffer}
    headers = {"Accept-Encoding": "gzip"}
    response = sqlite_api.nobody.send(
        "GET", "/static/scalar/LICENSE", headers=headers, environ_overrides=environ
    )
    assert response.status_code == 200
    assert len(response.data) >= 1024
    assert "Content-Encoding" not in response.headers


@pytest.mark.parametrize("path", ["docs.css", "admin/admin.css", "vendor/pico.min.css"])
def test_a_file_comes_from_the_real_server_though_the_client_takes_gzip(web: Web, path: str) -> None:
    address = f"http://127.0.0.1:{web.port}/static/{path}"
    answer = requests.get(address, headers={"Accept-Encoding": "gzip"}, timeout=20)
    assert answer.status_code == 200
    assert answer.content == (ROOT / "bridge/web/static" / path).read_bytes()
