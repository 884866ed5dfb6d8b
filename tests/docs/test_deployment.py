"""Heroku's form, the unit for systemd and its settings agree with the code."""

import json
from configparser import ConfigParser
from typing import Any

from bridge.settings import NAMES, Settings
from tests.docs.markdown import ROOT, blocks, page

OPERATING = page("docs/operating.md")


def heroku_app() -> Any:
    return json.loads((ROOT / "app.json").read_text(encoding="utf-8"))


def test_heroku_s_form_names_settings_and_what_it_fills_in_is_accepted() -> None:
    form = heroku_app()["env"]
    assert form.keys() <= NAMES
    assert all(field["description"].endswith(".") for field in form.values())
    # Heroku's `secret` is 64 hexadecimal digits.
    filled = {name: "0f" * 32 for name, field in form.items() if field.get("generator") == "secret"}
    filled |= {name: field["value"] for name, field in form.items() if "value" in field}
    required = {name for name, field in form.items() if field.get("required", True)}
    assert filled.keys() == required
    settings = Settings.load(filled | {"DYNO": "web.1", "DATABASE_URL": "postgres://host/name"})
    assert settings.admin_key


def test_heroku_starts_processes_that_the_procfile_has() -> None:
    processes = {line.partition(":")[0] for line in page("Procfile").splitlines()}
    assert heroku_app()["formation"].keys() == processes - {"release"}


def unit() -> ConfigParser:
    [block] = blocks(OPERATING, "ini")
    unit = ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's names have capitals
    unit.read_string(block.text)
    return unit


def test_the_unit_for_systemd_can_be_read() -> None:
    assert unit().sections() == ["Unit", "Service", "Install"]


def test_systemd_starts_the_service_again_however_long_the_database_is_away() -> None:
    service = unit()["Service"]
    assert service["Restart"] == "always"
    # By default systemd gives up after five starts within 10 s.
    assert int(service.get("RestartSec", "0")) * 4 > 10


def test_what_the_unit_s_service_writes_is_its_own_alone() -> None:
    service = unit()["Service"]
    assert (service["UMask"], service["StateDirectoryMode"]) == ("0077", "0700")


def test_the_settings_for_a_machine_can_be_loaded_and_name_the_folder_of_the_unit() -> None:
    [block] = blocks(OPERATING, "dotenv")
    settings = Settings.load(dict(line.split("=", 1) for line in block.text.splitlines()))
    folder = unit()["Service"]["StateDirectory"]
    assert settings.database_url.get_secret_value() == f"sqlite:////var/lib/{folder}/bridge.db"
