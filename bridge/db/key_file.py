"""The key that encrypts secrets when BRIDGE_SECRET_KEY is not set: a file beside the SQLite database."""

import os
from contextlib import suppress
from pathlib import Path

from cryptography.fernet import Fernet


class NoKeyFile(Exception):
    """No key can be read from the key file, or none be made. The message says why, and what to do."""


def read(path: Path) -> str:
    """Return the key in `path`, a Fernet key. Raises NoKeyFile when there is none that can be read."""
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
    """Make the key file, readable by its owner alone; leave one that is there as it is.

    Safe when several processes start at once: all then read the same key. Raises NoKeyFile when it cannot be made.
    """
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(Fernet.generate_key())
        # A hard link appears with its whole content or not at all, and never replaces a file.
        os.link(draft, path)
    except FileExistsError:
        pass
    except OSError as error:
        raise NoKeyFile(
            f"The key file {path} cannot be made: {error.strerror}. Make room, give this user the right to write to "
            "its folder, or set BRIDGE_SECRET_KEY."
        ) from None
    finally:
        with suppress(OSError):  # it may not be there
            draft.unlink()
