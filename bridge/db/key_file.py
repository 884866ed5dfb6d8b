"""The key that encrypts secrets when BRIDGE_SECRET_KEY is not set: a file beside the SQLite database."""

import os
import tempfile
from pathlib import Path

from cryptography.fernet import Fernet


class NoKeyFile(Exception):
    """No key can be read from the key file, or the file cannot be made. The message says why, and what to do."""


def read(path: Path) -> str:
    """Return the Fernet key in the file `path`. Raises NoKeyFile when no key can be read from the file."""
    try:
        key = path.read_text(encoding="utf-8").strip()
        Fernet(key)
    except FileNotFoundError:
        what = f"The key file {path} is not there: put it back beside the database"
    except PermissionError:
        what = f"This user may not read the key file {path}: run the command as the user that the service runs as"
    except (OSError, ValueError):
        what = f"The key file {path} holds no key that can be read: put it back as it was"
    else:
        return key
    raise NoKeyFile(f"{what}, or set BRIDGE_SECRET_KEY.")


def make(path: Path) -> None:
    """Make the key file, readable by its owner alone; keep an existing key file unchanged.

    Safe when several processes start at once: all then read the same key. Raises NoKeyFile when it cannot be made.
    """
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f"{path.name}.") as draft:
            draft.write(Fernet.generate_key())
            draft.flush()
            # It must be on the disk before the database holds what only this key decrypts.
            os.fsync(draft.fileno())
            # A hard link appears with its whole content or not at all, and never replaces a file.
            os.link(draft.name, path)
        _sync_folder(path.parent)
    except FileExistsError:
        pass
    except OSError as error:
        raise NoKeyFile(
            f"The key file {path} cannot be made: {error.strerror}. Make room, give this user the right to write to "
            "its folder, or set BRIDGE_SECRET_KEY."
        ) from None


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
