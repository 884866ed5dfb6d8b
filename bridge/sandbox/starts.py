"""The bodies of requests that start tasks, with validation like HubSpot's."""

from abc import abstractmethod
from collections.abc import Collection
from datetime import datetime
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from bridge.sandbox.replies import Reply, invalid
from bridge.sandbox.tasks import Source

_UNREADABLE = "Invalid input JSON on line 1, column 1"


class StartBody(BaseModel):
    """The base of the JSON bodies that start tasks; fields that HubSpot does not know are refused."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")

    def problem(self) -> str | None:
        """Return what is wrong with the parsed fields, as a message; None when nothing is."""
        return None

    @abstractmethod
    def source(self) -> Source:
        """Return what the task keeps of this body."""


class ImportFromUrl(StartBody):
    """The body of `import-from-url/async`: the file name in the path of `url` decides how the task ends."""

    access: Literal[
        "PUBLIC_INDEXABLE",
        "PUBLIC_NOT_INDEXABLE",
        "HIDDEN_INDEXABLE",
        "HIDDEN_NOT_INDEXABLE",
        "HIDDEN_PRIVATE",
        "HIDDEN_SENSITIVE",
        "PRIVATE",
        "SENSITIVE",
    ]
    url: str
    name: str | None = None
    folder_path: str | None = None
    folder_id: str | None = None
    duplicate_validation_strategy: Literal["NONE", "REJECT", "RETURN_EXISTING"] | None = None
    duplicate_validation_scope: Literal["ENTIRE_PORTAL", "EXACT_FOLDER"] | None = None
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
            access=self.access,
        )


class FolderUpdate(StartBody):
    """The body of `folders/update/async`: the folder's new name decides how the task ends."""

    id: str  # the folder to update
    name: str | None = None  # the folder's new name; None counts as `imports`
    parent_folder_id: str | int | None = None  # None counts as the default `Source.folder_id`

    def source(self) -> Source:
        name = self.name or "imports"
        parent = Source().folder_id if self.parent_folder_id is None else str(self.parent_folder_id)
        return Source(file_name=name, url=name, name=name, folder_id=parent, updated_folder_id=self.id)


class CrmExport(StartBody):
    """The body of `exports/export/async`: the export's name decides how the task ends."""

    export_type: Literal["LIST", "VIEW"]
    format: Literal["CSV", "XLS", "XLSX"]
    export_name: str
    object_properties: list[str]
    object_type: str
    language: str
    associated_object_type: str | list[str] | None = None
    export_internal_values_options: list[str] = Field(default_factory=list)
    override_associated_objects_per_definition_per_row_limit: bool = False
    list_id: str | int | None = None
    public_crm_search_request: dict[str, Any] | None = None

    def problem(self) -> str | None:
        if self.export_type == "LIST" and self.list_id is None:
            return "A LIST export needs a listId."
        if self.export_type == "VIEW" and self.list_id is not None:
            return "A VIEW export takes no listId."
        return None

    def source(self) -> Source:
        return Source(file_name=self.export_name, url=self.export_name, name=self.export_name)


class SourceCodeExtract(StartBody):
    """The body of `source-code/extract/async`: the archive's name decides how the task ends."""

    path: Annotated[str, Field(min_length=1)]

    def source(self) -> Source:
        return Source(file_name=self.path, url=self.path, name=PurePosixPath(self.path).name)


class CrmImportFile(BaseModel):
    """A file of a CRM import, with the only field that the sandbox uses."""

    file_name: Annotated[str, Field(alias="fileName", min_length=1)]


class CrmImport(BaseModel):
    """The JSON in the form part `importRequest` of a request that starts a CRM import.

    The JSON's many other fields are ignored.
    """

    name: Annotated[str, Field(min_length=1)]
    files: Annotated[list[CrmImportFile], Field(min_length=1)]


def parsed(model: type[StartBody], document: bytes) -> Source | Reply:
    """Parse the JSON `document` as a `model`, and return the fields that the new task will keep.

    Returns a 400 if the document is invalid.
    """
    try:
        body = model.model_validate_json(document)
    except ValidationError as refusal:
        return invalid(_message(refusal))
    problem = body.problem()
    return body.source() if problem is None else invalid(problem)


def parsed_import(request: str | None, uploaded: Collection[str | None]) -> Source | Reply:
    """Parse the request for a CRM import; return what the task keeps of it, or a 400 if it is invalid.

    `request` is the JSON of the part `importRequest`, None when that part is missing. `uploaded` holds the names of
    the uploaded files, None for a file without a name.
    """
    if request is None:
        return invalid("The part importRequest is required.")
    try:
        body = CrmImport.model_validate_json(request)
    except ValidationError as refusal:
        return invalid(_message(refusal))
    names = [file.file_name for file in body.files]
    missing = [name for name in names if name not in uploaded]
    if missing:
        return invalid(f"No file was uploaded with the name: {', '.join(missing)}")
    return Source(file_name=names[0], url=names[0], name=body.name)


def _fetchable(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _message(refusal: ValidationError) -> str:
    details = refusal.errors(include_url=False, include_input=False)
    missing = [str(detail["loc"][-1]) for detail in details if detail["type"] == "missing"]
    if missing:
        return f"{_UNREADABLE}. Some required fields were not set: [{', '.join(missing)}]"
    where = ".".join(str(part) for part in details[0]["loc"]) or "body"
    if details[0]["type"] == "extra_forbidden":
        return f'{_UNREADABLE}: Unrecognized field "{where}"'
    return f"{_UNREADABLE}: Cannot deserialize value of `{where}`: {details[0]['msg']}"
