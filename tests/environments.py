"""Environments for the tests of settings."""

from base64 import urlsafe_b64encode

import pytest

from bridge.settings import Settings, SettingsProblem

# Any 32 bytes: the same in every process of a run, because it names test cases.
KEY = urlsafe_b64encode(bytes(range(32))).decode()
OPERATOR = {
    "BRIDGE_OPERATOR_URL": "https://ops.example.com/hush",
    "BRIDGE_OPERATOR_SECRET": f"whsec_{KEY.replace('-', '+').replace('_', '/')}",
}


def problems(**environ: str) -> list[str]:
    """Return the problems for which these variables are refused, a line each."""
    with pytest.raises(SettingsProblem) as caught:
        Settings.load(environ)
    return str(caught.value).splitlines()
