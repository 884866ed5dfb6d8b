"""The schemas of the OpenAPI document, made from the request and response models."""

import json
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from bridge.web.request_models import Query
from bridge.web.response_models import Output

Models = dict[type[BaseModel], str]

# The names of the core's enumerations in the OpenAPI document. They are longer than in Python, because generated
# clients put no module's name in front of them.
_ENUMERATIONS = {
    "Order": "WatchOrder",
    "Outcome": "TaskOutcome",
    "State": "WatchState",
    "Trigger": "AttemptTrigger",
}


def schema_name(name: str) -> str:
    """Return how the OpenAPI document names the schema of the model or enumeration `name`."""
    return _ENUMERATIONS.get(name) or name.removesuffix("Schema")


class _Schemas(GenerateJsonSchema):
    """Makes schemas that are easy to read, and that client generators turn into code that compiles."""

    def normalize_name(self, name: str) -> str:
        return schema_name(super().normalize_name(name))

    def field_title_should_be_set(self, schema: object) -> bool:
        return False

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        made = super().nullable_schema(schema)
        choices: list[JsonSchemaValue] = made.get("anyOf", [])
        if len(choices) == 2 and isinstance(choices[0].get("type"), str) and "enum" not in choices[0]:
            return choices[0] | {"type": [choices[0]["type"], "null"]}
        return made

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        made = super().model_schema(schema)
        is_query, is_answer = (issubclass(schema["cls"], base) for base in (Query, Output))
        if is_answer:
            # Clients must accept fields that a later release adds.
            made.pop("additionalProperties", None)
        for name, field in made.get("properties", {}).items():
            if not is_query:
                # With `default` in its schema, client generators would treat the field as always present.
                default = field.pop("default", None)
                if default is not None and not is_answer:
                    field["description"] += f" `{json.dumps(default).strip(chr(34))}` when left out."
            values = [example[name] for example in made.get("examples", ()) if example.get(name) is not None]
            if values and not is_query:
                field["examples"] = values[:1]
        return made


def schemas(models: Sequence[type[BaseModel]]) -> tuple[Models, dict[str, Any]]:
    """Return the name of each model's schema, and all schemas by name, including those of nested models."""
    references, definitions = models_json_schema(
        [(model, "validation") for model in models],
        ref_template="#/components/schemas/{model}",
        schema_generator=_Schemas,
    )
    names = {model: references[model, "validation"]["$ref"].rpartition("/")[2] for model in models}
    return names, {name: made | {"title": name} for name, made in definitions["$defs"].items()}
