"""The web process: `gunicorn app:app` serves the API; gunicorn.conf.py starts and stops the embedded worker."""

import os
import sys
from pathlib import Path

from bridge import cli, logs
from bridge.commands.open_bridge import refuse_unusable_database
from bridge.commands.output import CommandError
from bridge.settings import Settings
from bridge.web import server
from bridge.web.app import create_app
from bridge.wiring import Bridge

APP_LOAD_ERROR = 4  # gunicorn's own: with another status it would try again and again

if __name__ == "__main__":
    sys.exit(cli.main(["serve", *sys.argv[1:]]))

if not server.is_configured:
    sys.stderr.write(
        "The bridge is not started: served like this it would accept watches and never ask HubSpot. Run "
        f"`python -m bridge serve`, or `gunicorn app:app`, in {Path(__file__).parent}.\n"
    )
    sys.exit(APP_LOAD_ERROR)

settings = Settings.load_or_exit(os.environ)
logs.configure(settings.log_format)
bridge = Bridge(settings)
try:
    with refuse_unusable_database():
        app = create_app(bridge.web_dependencies)
except CommandError as error:
    sys.stderr.write(f"{error}\n")
    sys.exit(APP_LOAD_ERROR)
