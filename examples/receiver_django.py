"""Receives the bridge's callbacks with Django. The model, the view and the worker are what your project needs.

pip install django standardwebhooks
SIGNING_SECRET=whsec_… python receiver_django.py
"""

import json
import logging
import os
import threading
import time

import django
from django.conf import settings
from django.core.management import execute_from_command_line
from django.db import connection, models
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST
from standardwebhooks import Webhook, WebhookVerificationError

settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "inbox.db"}},
    USE_TZ=True,
)
django.setup()

webhook = Webhook(os.environ["SIGNING_SECRET"])
log = logging.getLogger(__name__)


class Event(models.Model):
    """A received event. A callback may come twice, with the same id."""

    webhook_id = models.CharField(max_length=64, unique=True)
    body = models.TextField()
    done = models.BooleanField(default=False)

    class Meta:
        app_label = "hooks"
        db_table = "events"

    def __str__(self) -> str:
        return self.webhook_id


@csrf_exempt
@require_POST
def hubspot(request: HttpRequest) -> HttpResponse:
    """Check the signature, store the event, and answer."""
    try:
        webhook.verify(request.body, dict(request.headers))  # the raw bytes of the body
    except (WebhookVerificationError, ValueError):
        return HttpResponse(status=400)
    Event.objects.get_or_create(
        webhook_id=request.headers["webhook-id"], defaults={"body": request.body.decode()}
    )
    return HttpResponse(status=204)


urlpatterns = [path("hooks/hubspot", hubspot)]


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
    for event in Event.objects.filter(done=False).order_by("id"):
        try:
            handle(json.loads(event.body))
        except Exception:
            log.exception("%s failed, and is tried again", event.webhook_id)
            continue
        event.done = True
        event.save(update_fields=["done"])


if __name__ == "__main__":
    if "events" not in connection.introspection.table_names():  # your project: a migration
        with connection.schema_editor() as editor:
            editor.create_model(Event)
    threading.Thread(target=work, daemon=True).start()  # your project: a management command of its own
    execute_from_command_line(["", "runserver", "--noreload", os.environ.get("PORT", "9000")])
