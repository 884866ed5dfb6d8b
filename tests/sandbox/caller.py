"""A manual clock, and a client of the sandbox."""

from typing import Any

import requests

from bridge.sandbox import Kind, Sandbox

STATUS_PATHS = {
    Kind.FILE_IMPORT: "/files/v3/files/import-from-url/async/tasks/{}/status",
    Kind.FOLDER_UPDATE: "/files/v3/folders/update/async/tasks/{}/status",
    Kind.CRM_EXPORT: "/crm/v3/exports/export/async/tasks/{}/status",
    Kind.CRM_IMPORT: "/crm/v3/imports/{}",
    Kind.SOURCE_CODE_EXTRACT: "/cms/v3/source-code/extract/async/tasks/{}/status",
}
TOKEN = "sandbox-token"
START_PATH = "/files/v3/files/import-from-url/async"


class Clock:
    """A clock in epoch seconds that a test advances."""

    def __init__(self) -> None:
        self.starts()

    def starts(self) -> None:
        # 2026-11-21T00:00:10Z: ten seconds into a day, so that no test crosses midnight by accident.
        self.now = 1_795_219_210.0

    def __call__(self) -> float:
        return self.now

    def passes(self, seconds: float) -> None:
        self.now += seconds


class Caller:
    """A client of the sandbox, with one session."""

    def __init__(self, sandbox: Sandbox, session: requests.Session) -> None:
        self.url = sandbox.url
        self.state = sandbox.state
        self.session = session

    def call(self, method: str, path: str, token: str | None = TOKEN, **more: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        more = {"timeout": 10, "allow_redirects": False, "headers": headers, **more}
        return self.session.request(method, f"{self.url}{path}", **more)

    def get(self, path: str, **more: Any) -> requests.Response:
        return self.call("GET", path, **more)

    def control(self, path: str, document: object = None, method: str = "POST") -> requests.Response:
        return self.call(method, f"/sandbox/{path}", token=None, json=document)

    def status(self, task_id: str, kind: Kind = Kind.FILE_IMPORT, **more: Any) -> requests.Response:
        return self.get(STATUS_PATHS[kind].format(task_id), **more)

    def start(self, file_name: str = "report.csv", **changes: Any) -> requests.Response:
        """Start an import; a change to None leaves the field out."""
        url = f"https://files.example.com/{file_name}"
        body = {"access": "PRIVATE", "url": url, "folderPath": "/imports", **changes}
        sent = {name: value for name, value in body.items() if value is not None}
        return self.call("POST", START_PATH, json=sent)

    def started(self, file_name: str = "report.csv", **changes: Any) -> str:
        return str(self.start(file_name, **changes).json()["id"])

    def refresh(self, **changes: str) -> requests.Response:
        form = {
            "grant_type": "refresh_token",
            "client_id": "sandbox-client",
            "client_secret": "sandbox-secret",
            "refresh_token": "sandbox-refresh",
        }
        return self.call("POST", "/oauth/2026-03/token", token=None, data={**form, **changes})
