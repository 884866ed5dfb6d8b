"""The body that starts a file import, with validation like HubSpot's."""

from datetime import datetime
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field

from bridge.sandbox.starts import StartBody
from bridge.sandbox.tasks import Source


class Access(StrEnum):
    """Who may read the file."""

    PUBLIC_INDEXABLE = "PUBLIC_INDEXABLE"
    PUBLIC_NOT_INDEXABLE = "PUBLIC_NOT_INDEXABLE"
    HIDDEN_INDEXABLE = "HIDDEN_INDEXABLE"
    HIDDEN_NOT_INDEXABLE = "HIDDEN_NOT_INDEXABLE"
    HIDDEN_PRIVATE = "HIDDEN_PRIVATE"
    HIDDEN_SENSITIVE = "HIDDEN_SENSITIVE"
    PRIVATE = "PRIVATE"
    SENSITIVE = "SENSITIVE"


class DuplicateValidationStrategy(StrEnum):
    """What HubSpot does when the same file exists; the sandbox only validates the value."""

    NONE = "NONE"
    REJECT = "REJECT"
    RETURN_EXISTING = "RETURN_EXISTING"


class DuplicateValidationScope(StrEnum):
    """Where HubSpot looks for the same file; the sandbox only validates the value."""

    ENTIRE_PORTAL = "ENTIRE_PORTAL"
    EXACT_FOLDER = "EXACT_FOLDER"


class ImportFromUrl(StartBody):
    """The body of `import-from-url/async`: the file name in the path of `url` decides how the task ends."""

    access: Access
    url: str
    name: str | None = None
    folder_path: str | None = None
    folder_id: str | None = None
    duplicate_validation_strategy: DuplicateValidationStrategy | None = None
    duplicate_validation_scope: DuplicateValidationScope | None = None
    overwrite: bool = False
    ttl: Annotated[str, Field(pattern=r"^P")] | None = None
    expires_at: datetime | None = None

    def problem(self) -> str | None:
        if self.folder_path is None and self.folder_id is None:
            return "One of folderPath or folderId is required."
        if self.folder_path is not None and self.folder_id is not None:
            return "folderPath and folderId cannot be set at the same time."
        if self.ttl is not None and self.expires_at is not None:
            return "ttl and expiresAt cannot be set at the same time."
        return None if _fetchable(self.url) else f"Invalid URL: {self.url[:200]}"

    def source(self) -> Source:
        file_name = PurePosixPath(urlsplit(self.url).path).name
        return Source(
            file_name=file_name,
            url=self.url,
            name=self.name or file_name or "file",
            folder_path=self.folder_path or "/imports",
            folder_id=self.folder_id or Source().folder_id,
            access=self.access.value,
        )


def _fetchable(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)
