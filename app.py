"""The web process: `gunicorn app:app` serves the API; gunicorn.conf.py starts and stops its worker."""

import os

from bridge import logs
from bridge.settings import Settings
from bridge.wiring import Bridge

settings = Settings.load_or_exit(os.environ)
logs.configure(settings.log_format)
bridge = Bridge(settings)
app = bridge.app
