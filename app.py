"""The web process: `gunicorn app:app` serves the API; gunicorn.conf.py starts and stops its worker."""

import os
import sys
from pathlib import Path

from bridge import cli, logs
from bridge.settings import Settings
from bridge.web import server
from bridge.web.app import create_app
from bridge.wiring import Bridge

if __name__ == "__main__":
    sys.exit(cli.main(["serve"]))

if not server.is_configured:
    sys.stderr.write(
        "The bridge is not started: served like this it would accept watches and never ask HubSpot. Run "
        f"`python -m bridge serve`, or `gunicorn app:app`, in {Path(__file__).parent}.\n"
    )
    # gunicorn's own APP_LOAD_ERROR: with another status it would try again and again.
    sys.exit(4)

settings = Settings.load_or_exit(os.environ)
logs.configure(settings.log_format)
bridge = Bridge(settings)
app = create_app(bridge.web_dependencies)
