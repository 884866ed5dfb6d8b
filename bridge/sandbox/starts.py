"""Starting a task of any kind but a file import: HubSpot's checks of the request."""

import json
from abc import abstractmethod
from collections.abc import Collection
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from bridge.sandbox.replies import Reply, invalid
from bridge.sandbox.tasks import Source

_UNREADABLE = "Invalid input JSON on line 1, column 1"


class StartBody(BaseModel):
    """The JSON that starts a task. A field that HubSpot does not know is refused."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")

    def problem(self) -> str | None:
        """What is wrong between fields that are each right, or None."""
        return None

    @abstractmethod
    def source(self) -> Source:
        """What the result repeats; the name of its `url` decides what becomes of the task."""


class FolderUpdate(StartBody):
    """The body of `folders/update/async`: the folder's new name decides what becomes of the task."""

    id: str
    name: str | None = None
    parent_folder_id: str | int | None = None

    def source(self) -> Source:
        name = self.name or "imports"
        parent = Source().folder_id if self.parent_folder_id is None else str(self.parent_folder_id)
        return Source(url=name, name=name, folder_id=parent, updated_folder_id=self.id)


class CrmExport(StartBody):
    """The body of `exports/export/async`: the export's name decides what becomes of the task."""

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
        return Source(url=self.export_name, name=self.export_name)


class SourceCodeExtract(StartBody):
    """The body of `source-code/extract/async`: the archive's name decides what becomes of the task."""

    path: Annotated[str, Field(min_length=1)]

    def source(self) -> Source:
        return Source(url=self.path, name=PurePosixPath(self.path).name)


class CrmImportFile(BaseModel):
    """A file of an import of records, as far as the sandbox reads it."""

    file_name: Annotated[str, Field(alias="fileName", min_length=1)]


class CrmImport(BaseModel):
    """The part `importRequest` of an import of records; its many other fields are passed over."""

    name: Annotated[str, Field(min_length=1)]
    files: Annotated[list[CrmImportFile], Field(min_length=1)]


def parsed(model: type[StartBody], document: Any) -> Source | Reply:
    """What to start, or the 400 with which HubSpot refuses `document`, which may be anything."""
    try:
        body = model.model_validate(document)
    except ValidationError as refusal:
        return invalid(_message(refusal))
    problem = body.problem()
    return body.source() if problem is None else invalid(problem)


def parsed_import(request: str | None, uploaded: Collection[str | None]) -> Source | Reply:
    """What to import from the form's `importRequest` and the names of its files, or HubSpot's 400.

    The first file's name decides what becomes of the task.
    """
    if request is None:
        return invalid("The part importRequest is required.")
    try:
        body = CrmImport.model_validate(json.loads(request))
    except ValidationError as refusal:
        return invalid(_message(refusal))
    except ValueError:
        return invalid(f"{_UNREADABLE}: importRequest is not JSON")
    names = [file.file_name for file in body.files]
    missing = [name for name in names if name not in uploaded]
    if missing:
        return invalid(f"No file was uploaded with the name: {', '.join(missing)}")
    return Source(url=names[0], name=body.name)


def _message(refusal: ValidationError) -> str:
    details = refusal.errors(include_url=False, include_input=False)
    missing = [str(detail["loc"][-1]) for detail in details if detail["type"] == "missing"]
    if missing:
        return f"{_UNREADABLE}. Some required fields were not set: [{', '.join(missing)}]"
    where = ".".join(str(part) for part in details[0]["loc"]) or "body"
    if details[0]["type"] == "extra_forbidden":
        return f'{_UNREADABLE}: Unrecognized field "{where}"'
    return f"{_UNREADABLE}: Cannot deserialize value of `{where}`: {details[0]['msg']}"
