"""Tests of your own app with pytest, against the simulated HubSpot.

pip install pytest requests hubspot-api-client
SANDBOX=http://127.0.0.1:8001 pytest test_with_sandbox.py
"""

import os

import hubspot
import pytest
import requests
from hubspot.files import ApiException, ImportFromUrlInput

SANDBOX = os.environ["SANDBOX"]


def start_import(file_name: str) -> str:
    """Your app's own code: tests only change the host."""
    client = hubspot.Client.create(access_token="sandbox-token", host=SANDBOX)
    url = f"https://files.example.com/{file_name}"
    source = ImportFromUrlInput(access="PRIVATE", url=url, folder_path="/imports")
    return client.files.files_api.import_from_url(source).id


def status(task_id: str) -> dict:
    """Return HubSpot's status of a task."""
    url = f"{SANDBOX}/files/v3/files/import-from-url/async/tasks/{task_id}/status"
    return requests.get(url, headers={"Authorization": "Bearer sandbox-token"}, timeout=10).json()


@pytest.fixture(autouse=True)
def _sandbox() -> None:
    """The sandbox in its initial state, except that every task ends at once."""
    requests.post(f"{SANDBOX}/sandbox/reset", timeout=10).raise_for_status()
    at_once = {"pending_seconds": 0, "processing_seconds": 0}
    requests.patch(f"{SANDBOX}/sandbox/options", json=at_once, timeout=10).raise_for_status()


def test_an_import_ends_with_a_file_in_our_folder() -> None:
    assert status(start_import("report.csv"))["result"]["path"] == "/imports/report.csv"


def test_an_import_that_fails_has_no_file() -> None:
    assert "result" not in status(start_import("fail.csv"))  # the file's name decides


def test_we_are_told_when_hubspot_is_down() -> None:
    down = {"fault": "503", "endpoint": "start-import"}
    requests.post(f"{SANDBOX}/sandbox/faults", json=down, timeout=10).raise_for_status()
    with pytest.raises(ApiException, match="503"):
        start_import("report.csv")


def test_one_import_is_one_request() -> None:
    start_import("report.csv")
    ledger = requests.get(f"{SANDBOX}/sandbox/ledger", timeout=10).json()
    assert ledger["endpoints"] == {"start-import": 1}
