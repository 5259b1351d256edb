"""The JSON API described on a page of its own: no script, and nothing from elsewhere."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Route:
    """One route of the API.

    Attributes:
        method: such as `GET`.
        path: with its parameters in braces.
        summary: in a few words.
        description: in a sentence, or empty.
        inputs: name, type and meaning of each parameter and form field.
        outputs: status, meaning and name of the type of each answer.
    """

    method: str
    path: str
    summary: str
    description: str
    inputs: list[tuple[str, str, str]]
    outputs: list[tuple[str, str, str]]


@dataclass(frozen=True)
class Type:
    """One type that the API answers with: its name, meaning, and its fields as name and type."""

    name: str
    description: str
    fields: list[tuple[str, str]]


def list_routes(openapi: dict[str, Any]) -> list[Route]:
    """Return the routes of an OpenAPI document, in its order."""
    return [
        Route(
            method.upper(),
            path,
            operation.get("summary", ""),
            operation.get("description", ""),
            _list_inputs(operation),
            [
                (status, answer.get("description", ""), _name_answer(answer))
                for status, answer in sorted(operation.get("responses", {}).items())
                if status != "4XX"  # any route may answer so
            ],
        )
        for path, operations in openapi["paths"].items()
        for method, operation in operations.items()
    ]


def list_types(openapi: dict[str, Any]) -> list[Type]:
    """Return the types of an OpenAPI document, in its order."""
    schemas = openapi.get("components", {}).get("schemas", {})
    return [
        Type(
            name,
            schema.get("description", ""),
            [(field, name_type(inner)) for field, inner in schema.get("properties", {}).items()],
        )
        for name, schema in schemas.items()
    ]


def name_type(schema: dict[str, Any]) -> str:
    """Return a JSON schema in a few words.

    Example:
        >>> name_type({"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "null"}]}})
        'list of string or null'
        >>> name_type({"$ref": "#/components/schemas/Layer"}), name_type({"enum": ["row", "full"], "type": "string"})
        ('Layer', '"row" or "full"')
    """
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(name_type(inner) for inner in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f'"{value}"' for value in schema["enum"])
    kind = schema.get("type", "any value")
    if kind == "array":
        return f"list of {name_type(schema.get('items', {}))}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"{name_type(schema['additionalProperties'])} by name"
    return "file" if schema.get("format") == "binary" else str(kind)


def _list_inputs(operation: dict[str, Any]) -> list[tuple[str, str, str]]:
    found = [
        (item["name"], f"{item['in']}, {name_type(item['schema'])}", item.get("description", ""))
        for item in operation.get("parameters", [])
    ]
    for body in operation.get("requestBody", {}).get("content", {}).values():
        found += [
            (name, f"form, {name_type(schema)}", schema.get("description", ""))
            for name, schema in body["schema"].get("properties", {}).items()
        ]
    return found


def _name_answer(answer: dict[str, Any]) -> str:
    for kind, content in answer.get("content", {}).items():
        return name_type(content["schema"]) if "schema" in content else kind
    return ""
