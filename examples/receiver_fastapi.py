"""Receives the bridge's callbacks with FastAPI.

pip install fastapi uvicorn standardwebhooks
SIGNING_SECRET=whsec_… python receiver_fastapi.py
"""

import json
import logging
import os
import sqlite3
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from standardwebhooks import Webhook, WebhookVerificationError

webhook = Webhook(os.environ["SIGNING_SECRET"])
log = logging.getLogger(__name__)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Run the worker in a thread, so that slow work delays no request."""
    threading.Thread(target=work, daemon=True).start()
    yield


app = FastAPI(lifespan=lifespan)


@app.post("/hooks/hubspot", status_code=204)
async def hubspot(request: Request) -> Response:
    """Check the signature, store the event, and answer."""
    body = await request.body()  # the signature is over the raw bytes, not over parsed and serialized JSON
    try:
        webhook.verify(body, dict(request.headers))
    except (WebhookVerificationError, ValueError):
        return Response(status_code=400)
    await run_in_threadpool(note, request.headers["webhook-id"], body.decode())
    return Response(status_code=204)


def open_inbox() -> sqlite3.Connection:
    """Open the inbox: the received events, each stored once. In your app: a table of your own database."""
    inbox = sqlite3.connect("inbox.db", timeout=10)
    inbox.execute(
        "CREATE TABLE IF NOT EXISTS events (webhook_id TEXT PRIMARY KEY, body TEXT, done INTEGER DEFAULT 0)"
    )
    return inbox


def note(webhook_id: str, body: str) -> None:
    """Store an event. A callback may come twice, with the same id: the second one changes nothing."""
    with closing(open_inbox()) as inbox, inbox:
        inbox.execute("INSERT OR IGNORE INTO events (webhook_id, body) VALUES (?, ?)", (webhook_id, body))


def handle(event: dict) -> None:
    """Your work. It may be slow."""
    print(event["type"], event["data"].get("task_id"), flush=True)


def work() -> None:
    """Handle the stored events in an endless loop. After a crash, those that were not handled come first."""
    while True:
        try:
            work_once()
        except Exception:  # the inbox is locked, perhaps, or its disk is full
            log.exception("the inbox is tried again")
        time.sleep(1)


def work_once() -> None:
    """Handle each stored event once."""
    with closing(open_inbox()) as inbox:
        left = inbox.execute("SELECT webhook_id, body FROM events WHERE done = 0 ORDER BY rowid")
        for webhook_id, body in left.fetchall():
            try:
                handle(json.loads(body))
            except Exception:
                log.exception("%s failed, and is tried again", webhook_id)
                continue
            with inbox:
                inbox.execute("UPDATE events SET done = 1 WHERE webhook_id = ?", (webhook_id,))


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ.get("PORT", "9000")))
