"""The npm packages that the tests use: those of `tests/npm`, installed once, into pytest's cache."""

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

WANTED = Path(__file__).parent / "npm"

needs_node = pytest.mark.skipif(shutil.which("npm") is None, reason="node and npm are not installed")


def npm_folder(config: pytest.Config) -> Path:
    """Return the folder whose `node_modules` has the packages, of the locked versions.

    It is for all processes of a run, and for later runs; one installs, and the others wait.
    """
    assert config.cache is not None
    lock = (WANTED / "package-lock.json").read_bytes()
    folder = config.cache.mkdir(f"npm-{hashlib.sha256(lock).hexdigest()[:12]}")
    with (folder / "installing").open("w") as acquire:
        fcntl.flock(acquire, fcntl.LOCK_EX)
        if not (folder / "installed").exists():
            shutil.copytree(WANTED, folder, dirs_exist_ok=True)
            command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
            subprocess.run(command, cwd=folder, check=True, timeout=600)
            (folder / "installed").touch()
    return folder
