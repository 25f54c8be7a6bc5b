"""Describe the tools for assistants as the protocol wants it, with JSON Schemas of their arguments.

`make openapi` writes docs/mcp_tools.json, which the server sends. Model providers refuse a schema
with `anyOf` or the like at its top, and many do not resolve references. So the rules about fields
that belong together are sentences of the description, and references are replaced. The pattern that
every text has is left out: it tells a model nothing, and each conversation pays for its length.
"""

from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow.openapi import OpenAPIConverter

from bases import Request
from fields import PRINTABLE
from reference.shapes import ENUMS, Plugin, name_of
from web.tools import TOOLS, Tool


def build() -> list[dict[str, Any]]:
    """Return the tools in a fixed order."""
    plugin = Plugin(schema_name_resolver=name_of)
    spec = APISpec("Meetings", "1", "3.1.0", plugins=[plugin])
    assert plugin.converter is not None
    for words, name in ENUMS.items():
        spec.components.schema(name, {"type": "string", "enum": [*words]})
    return [describe(name, tool, spec, plugin.converter) for name, tool in TOOLS.items()]


def describe(name: str, tool: Tool, spec: APISpec, converter: OpenAPIConverter) -> dict[str, Any]:
    """Return one tool."""
    made = converter.schema2jsonschema(tool.arguments())
    schema = {
        "type": "object",
        "properties": inlined(made["properties"], spec),
        "required": made.get("required", []),
        "additionalProperties": False,
    }
    return {
        "name": name,
        "description": " ".join([tool.description, *rules(tool.arguments)]),
        "inputSchema": schema,
        "annotations": {
            "readOnlyHint": tool.reads,
            "destructiveHint": tool.replaces,
            "idempotentHint": tool.repeatable,
            "openWorldHint": False,
        },
    }


def inlined(shape: Any, spec: APISpec) -> Any:
    """Return a JSON Schema with its references replaced by what they refer to, and closed."""
    if isinstance(shape, list):
        return [inlined(item, spec) for item in shape]
    if not isinstance(shape, dict):
        return shape
    if "$ref" in shape:
        return inlined(spec.components.schemas[shape["$ref"].rpartition("/")[2]], spec)
    kept = {name: item for name, item in shape.items() if item != PRINTABLE}
    if kept.pop("unevaluatedProperties", None):  # POST /leads takes any field
        del kept["propertyNames"]
        kept["additionalProperties"] = False
    return {name: inlined(item, spec) for name, item in kept.items()}


def rules(arguments: type[Request]) -> list[str]:
    """Return a sentence for each rule about fields that belong together."""
    one_of = [
        f"Give {' or '.join(f'`{name}`' for name in names)}." for names in arguments.EITHER_OR
    ]
    needed = [
        f"`{name}` needs {' and '.join(f'`{other}`' for other in others)}."
        for name, others in arguments.NEEDS.items()
    ]
    return one_of + needed
