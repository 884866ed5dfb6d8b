"""Faults: which requests they apply to, how often, and what is sent."""

import json
import socket
import time
import zlib
from urllib.parse import urlsplit

import pytest
import requests
from flask import Flask

from bridge.sandbox import Kind, Target
from bridge.sandbox.api import blueprint
from bridge.sandbox.faults import ENDPOINTS, NAMES, OAUTH_ENDPOINT
from tests.sandbox.caller import STATUS_PATHS, TOKEN, Caller

# Some need more than one look, in tests of their own.
TRAVELLING = {"hang", "drip", "drip-headers", "short", "drop", "bad-header"}
UNPACKING = {"gzip-bomb"}


def faulty(hubspot: Caller, fault: str) -> requests.Response:
    task_id = hubspot.started()
    hubspot.state.set_fault(fault, Target(task_id=task_id))
    return hubspot.status(task_id)


@pytest.mark.parametrize(
    ("fault", "status_code", "fields"),
    [
        ("400", 400, {"category": "VALIDATION_ERROR"}),
        ("401", 401, {"category": "INVALID_AUTHENTICATION"}),
        ("401-expired", 401, {"category": "EXPIRED_AUTHENTICATION"}),
        ("403", 403, {"category": "FORBIDDEN"}),
        ("403-scopes", 403, {"category": "MISSING_SCOPES"}),
        ("403-scopes-crm", 403, {"category": "MISSING_SCOPES"}),
        ("403-ban", 403, {"category": "BANNED"}),
        ("404", 404, {"category": "OBJECT_NOT_FOUND"}),
        ("423", 423, {"category": "LOCKED"}),
        ("429", 429, {"policyName": "TEN_SECONDLY_ROLLING"}),
        ("429-secondly", 429, {"policyName": "SECONDLY"}),
        ("429-daily", 429, {"policyName": "DAILY"}),
        ("477", 477, {"category": "MIGRATION"}),
        ("500", 500, {"category": "INTERNAL_ERROR"}),
    ],
)
def test_an_error_has_hubspots_envelope(
    hubspot: Caller, fault: str, status_code: int, fields: dict[str, str]
) -> None:
    answer = faulty(hubspot, fault)
    document = answer.json()
    assert answer.status_code == status_code
    assert document["status"] == "error"
    assert {"message", "correlationId"} <= set(document)
    assert fields.items() <= document.items()


@pytest.mark.parametrize(
    ("fault", "header", "value"),
    [
        ("429", "X-HubSpot-RateLimit-Remaining", "0"),
        ("429-daily", "X-HubSpot-RateLimit-Daily-Remaining", "0"),
        ("477", "Retry-After", "60"),
    ],
)
def test_an_error_has_its_header(hubspot: Caller, fault: str, header: str, value: str) -> None:
    assert faulty(hubspot, fault).headers[header] == value


@pytest.mark.parametrize(
    ("fault", "status_code"), [("404-html", 404), ("502", 502), ("503", 503), ("504", 504), ("html", 200)]
)
def test_a_page_is_html(hubspot: Caller, fault: str, status_code: int) -> None:
    answer = faulty(hubspot, fault)
    assert (answer.status_code, answer.headers["Content-Type"]) == (status_code, "text/html;charset=utf-8")


@pytest.mark.parametrize("fault", ["301", "302", "303", "307", "308"])
def test_whoever_follows_a_redirect_is_seen_in_the_ledger(hubspot: Caller, fault: str) -> None:
    answer = faulty(hubspot, fault)
    assert (answer.status_code, answer.headers["Location"]) == (int(fault), "/redirected")
    assert "no-route" not in hubspot.state.ledger()["endpoints"]
    hubspot.get(answer.headers["Location"])
    assert hubspot.state.ledger()["endpoints"]["no-route"] == 1


@pytest.mark.parametrize("fault", ["empty", "not-json", "cut-short", "invalid-utf-8", "nul-bytes"])
def test_a_broken_body_is_no_json(hubspot: Caller, fault: str) -> None:
    answer = faulty(hubspot, fault)
    assert answer.status_code == 200
    with pytest.raises(ValueError, match=r"(?s)."):
        json.loads(answer.content.decode())


@pytest.mark.parametrize(
    ("fault", "document"),
    [
        ("null", None),
        ("not-an-object", ["COMPLETE"]),
        ("no-status", {"links": {}}),
        ("unknown-status", {"status": "ARCHIVED", "state": "ARCHIVED"}),
        ("nul-escape", {"status": "COMPLETE", "result": {"id": "17", "name": "a\x00b"}}),
    ],
)
def test_an_odd_body_is_json_all_the_same(hubspot: Caller, fault: str, document: object) -> None:
    answer = faulty(hubspot, fault)
    assert (answer.status_code, answer.json()) == (200, document)


def test_a_byte_order_mark_goes_before_good_json(hubspot: Caller) -> None:
    answer = faulty(hubspot, "bom")
    assert answer.content.startswith(b"\xef\xbb\xbf{")
    assert json.loads(answer.content.decode("utf-8-sig"))["status"] == "COMPLETE"


def test_a_big_body_is_over_ten_megabytes(hubspot: Caller) -> None:
    assert len(faulty(hubspot, "big").content) > 10 * 1024 * 1024


def test_a_gzip_bomb_unpacks_to_a_thousand_times_its_size(hubspot: Caller) -> None:
    task_id = hubspot.started("gzip-bomb.csv")
    answer = hubspot.status(task_id, stream=True)
    packed = answer.raw.read(decode_content=False)
    unpacked = zlib.decompressobj(wbits=31).decompress(packed, 1024 * 1024 * 100)
    assert answer.headers["Content-Encoding"] == "gzip"
    assert len(packed) < 100_000
    assert len(unpacked) > 50 * 1024 * 1024


def test_a_dropped_connection_gives_no_answer_and_the_next_call_is_fine(hubspot: Caller) -> None:
    task_id = hubspot.started("drop-x1.csv")
    with pytest.raises(requests.ConnectionError):
        hubspot.status(task_id)
    assert hubspot.status(task_id).status_code == 202


def test_a_short_answer_ends_before_its_promised_length(hubspot: Caller) -> None:
    task_id = hubspot.started("short.csv")
    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
        hubspot.status(task_id)


def test_a_hanging_call_is_left_without_an_answer(hubspot: Caller) -> None:
    task_id = hubspot.started("hang.csv")
    with pytest.raises(requests.ReadTimeout):
        hubspot.status(task_id, timeout=0.2)


def test_a_call_hangs_for_as_long_as_asked_and_is_then_dropped(hubspot: Caller) -> None:
    hubspot.control("faults", {"fault": "hang", "seconds": 0.1})
    before = time.monotonic()
    with pytest.raises(requests.ConnectionError):
        hubspot.status("AAAAEZ6whGI")
    assert time.monotonic() - before >= 0.1


def test_a_dripping_answer_outlasts_a_timeout_that_counts_single_reads(hubspot: Caller) -> None:
    hubspot.control("faults", {"fault": "drip", "seconds": 0.05})
    before = time.monotonic()
    assert hubspot.status("AAAAEZ6whGI", timeout=2.0).status_code == 200
    assert time.monotonic() - before > 2.0


def test_dripping_headers_end_without_a_body(hubspot: Caller) -> None:
    hubspot.control("faults", {"fault": "drip-headers", "seconds": 0.002})
    before = time.monotonic()
    answer = hubspot.status("AAAAEZ6whGI")
    assert time.monotonic() - before > 0.17
    assert (len(answer.headers), answer.content) == (90, b"")


def test_a_bad_header_has_a_space_before_its_colon(hubspot: Caller) -> None:
    hubspot.state.set_fault("bad-header")
    parts = urlsplit(hubspot.url)
    path = STATUS_PATHS[Kind.FILE_IMPORT].format("AAAAEZ6whGI")
    asked = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as connection:
        connection.sendall(asked.encode())
        assert b"\r\nX-Frame-Options : DENY\r\n" in connection.recv(65_536)


def test_what_was_never_answered_has_no_status_code_in_the_ledger(hubspot: Caller) -> None:
    with pytest.raises(requests.ConnectionError):
        faulty(hubspot, "drop")
    assert hubspot.state.ledger()["status_codes"] == {"202": 1, "none": 1}


def test_every_fault_of_the_table_is_tried_here(hubspot: Caller) -> None:
    for fault in sorted(NAMES - TRAVELLING - UNPACKING):
        assert faulty(hubspot, fault).status_code == (int(fault[:3]) if fault[0].isdecimal() else 200)


def test_a_fault_hits_the_next_n_answers(hubspot: Caller) -> None:
    hubspot.state.set_fault("500", times=2)
    assert [hubspot.status("AAAAEZ6whGI").status_code for _ in range(3)] == [500, 500, 404]


def test_a_fault_of_a_task_leaves_the_others_alone(hubspot: Caller) -> None:
    first, second = hubspot.started(), hubspot.started()
    hubspot.state.set_fault("500", Target(task_id=first))
    assert [hubspot.status(task_id).status_code for task_id in (first, second)] == [500, 202]


def test_a_fault_of_a_token_leaves_the_others_alone(hubspot: Caller) -> None:
    hubspot.state.change_options({"tokens": ["one", "two"]})
    hubspot.state.set_fault("401", Target(token="one"))
    answers = [hubspot.status("AAAAEZ6whGI", token=token).status_code for token in ("one", "two")]
    assert answers == [401, 404]


def test_a_fault_of_one_access_token_leaves_the_account_alone(hubspot: Caller) -> None:
    first, second = (hubspot.refresh().json()["access_token"] for _ in range(2))
    hubspot.state.set_fault("401", Target(token=first))
    answers = [hubspot.status("AAAAEZ6whGI", token=token).status_code for token in (first, second)]
    assert answers == [401, 404]


def test_a_fault_of_an_oauth_account_outlives_its_access_tokens(hubspot: Caller) -> None:
    hubspot.state.set_fault("403-ban", Target(token="oauth:sandbox-refresh"))
    for _ in range(2):
        token = hubspot.refresh().json()["access_token"]
        assert hubspot.status("AAAAEZ6whGI", token=token).status_code == 403
    assert hubspot.status("AAAAEZ6whGI").status_code == 404


def test_a_fault_of_an_endpoint_leaves_the_others_alone(hubspot: Caller) -> None:
    hubspot.state.set_fault("500", Target(endpoint="start-import"))
    assert hubspot.start().status_code == 500
    assert hubspot.status("AAAAEZ6whGI").status_code == 404


def test_the_fault_of_a_task_comes_before_that_of_everything(hubspot: Caller) -> None:
    task_id = hubspot.started()
    hubspot.state.set_fault("500")
    hubspot.state.set_fault("423", Target(task_id=task_id), times=1)
    assert [hubspot.status(task_id).status_code for _ in range(2)] == [423, 500]


def test_faults_of_one_target_come_in_the_order_they_were_set(hubspot: Caller) -> None:
    for fault in ("500", "423"):
        hubspot.state.set_fault(fault, times=1)
    assert [hubspot.status("AAAAEZ6whGI").status_code for _ in range(3)] == [500, 423, 404]


def test_an_answer_of_ones_own_has_any_status_headers_and_body(hubspot: Caller) -> None:
    body = {"status_code": 299, "headers": {"X-Own": "1", "Content-Type": "text/plain"}, "body": "grüße"}
    hubspot.control("faults", body)
    answer = hubspot.status("AAAAEZ6whGI")
    assert (answer.status_code, answer.headers["X-Own"], answer.content.decode()) == (299, "1", "grüße")


def test_a_named_fault_can_be_changed_in_part(hubspot: Caller) -> None:
    hubspot.control("faults", {"fault": "477", "headers": {"retry-after": "86400"}})
    answer = hubspot.status("AAAAEZ6whGI")
    assert (answer.status_code, answer.headers["Retry-After"]) == (477, "86400")
    assert answer.json()["category"] == "MIGRATION"


@pytest.mark.parametrize("status_code", [204, 304])
def test_an_answer_without_a_body_keeps_the_connection_in_step(hubspot: Caller, status_code: int) -> None:
    hubspot.control("faults", {"status_code": status_code, "body": "ignored", "times": 1})
    assert hubspot.status("AAAAEZ6whGI").status_code == status_code
    assert hubspot.status("AAAAEZ6whGI").status_code == 404


def test_one_fault_can_be_cleared_by_its_id(hubspot: Caller) -> None:
    fault_id = hubspot.control("faults", {"fault": "500"}).json()["id"]
    hubspot.control("faults", {"fault": "423"})
    assert hubspot.control(f"faults/{fault_id}", method="DELETE").status_code == 204
    assert hubspot.status("AAAAEZ6whGI").status_code == 423
    assert hubspot.control(f"faults/{fault_id}", method="DELETE").status_code == 404


def test_there_is_a_route_for_each_endpoint_that_a_fault_can_be_set_for(hubspot: Caller) -> None:
    app = Flask("hubspot")
    app.register_blueprint(blueprint(hubspot.state))
    routed = {name.removeprefix("hubspot.") for name in app.view_functions if name.startswith("hubspot.")}
    assert routed - {"token"} == ENDPOINTS - {OAUTH_ENDPOINT}


def test_a_fault_for_an_endpoint_that_is_none_is_refused_to_tests_in_python_too(hubspot: Caller) -> None:
    with pytest.raises(ValueError, match=r"no endpoint is named start-file-import; there are .*start-import"):
        hubspot.state.set_fault("503", Target(endpoint="start-file-import"))


def test_all_faults_can_be_cleared(hubspot: Caller) -> None:
    task_id = hubspot.started("500.csv")
    hubspot.control("faults", {"fault": "401"})
    assert hubspot.control("faults", method="DELETE").status_code == 204
    assert hubspot.status(task_id).status_code == 202


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"fault": "nothing-like-it"},
        {"fault": "500", "times": 0},
        {"fault": "500", "times": 10**400},
        {"fault": "503", "endpoint": "start-file-import"},
        {"fault": "503", "endpoint": "no-route"},
        {"fault": "hang", "seconds": 1e10},
        {"fault": "drip", "seconds": 1e308},
        {"fault": "500", "task_id": "a", "token": "b"},
        {"fault": "500", "headers": {"X-Own": "a\r\nX-Other: b"}},
        {"fault": "500", "headers": {"X Own:": "a"}},
        {"status_code": 101},
        {"fault": "500", "tiems": 3},
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(hubspot: Caller, body: dict[str, object]) -> None:
    answer = hubspot.control("faults", body)
    assert (answer.status_code, bool(answer.json()["errors"])) == (400, True)
    assert hubspot.status("AAAAEZ6whGI").status_code == 404
