"""Convert schemas to JSON Schema; apispec reads most fields, and this module adds the rest."""

import inspect
from collections.abc import Iterable
from itertools import product
from typing import Any

import marshmallow.fields
from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.openapi import OpenAPIConverter
from marshmallow import Schema

import fields
import intake_models
import lead_schemas
import models
import webhook_models
from bases import Query, Request, ResponseSchema
from reference.examples import EXAMPLES
from reference.webhook_examples import WEBHOOK_EXAMPLES

# Vocabularies that become named types in generated clients.
ENUMS = {
    models.LOCATION_TYPES: "LocationType",
    models.BOOKING_STATUSES: "BookingStatus",
    models.SHOWN_STATUSES: "MeetingStatus",
    models.ACTIVITY_TYPES: "ActivityKind",
    intake_models.SOURCE_PROVIDERS: "SourceProvider",
    webhook_models.EVENT_TYPES: "EventType",
    webhook_models.DELIVERY_STATUSES: "DeliveryStatus",
}
LOCAL_TIME = {
    "type": "string",
    "format": "date-time-local",  # spec.openapis.org/registry/format; few validators know it
    "pattern": "^(19[7-9]|2[01][0-9])[0-9]-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    "T([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?$",
}
METADATA: dict[str, Any] = {
    "type": "object",
    "maxProperties": fields.METADATA_KEYS,
    "propertyNames": {"minLength": 1, "maxLength": 255, "pattern": fields.PRINTABLE},
    "additionalProperties": {
        "type": ["string", "number", "boolean", "null"],
        "pattern": fields.PRINTABLE,
        "minimum": fields.INT64.start,
        "exclusiveMaximum": fields.INT64.stop,
    },
}
ABOUT = ("default", "description")  # these come first, and stay outside an anyOf with null


class Converter(OpenAPIConverter):
    """apispec's converter from marshmallow to JSON Schema, extended for our types and rules."""

    def field2choices(self, field: marshmallow.fields.Field[Any], **kwargs: Any) -> dict[str, Any]:
        """Return the choices of a field, without null, which `field2property` adds."""
        choices = [v.choices for v in field.validators if hasattr(v, "choices")]
        return {"enum": [*choices[0]]} if choices else {}

    def field2default(self, field: marshmallow.fields.Field[Any], **kwargs: Any) -> dict[str, Any]:
        """Return the default of a field; a constant has none, since it is never absent."""
        is_constant = isinstance(field, marshmallow.fields.Constant)
        return {} if is_constant else dict(super().field2default(field, **kwargs))

    def field2nullable(self, field: marshmallow.fields.Field[Any], ret: Any) -> dict[str, Any]:
        """Add nothing: `field2property` adds null, as it knows queries and named vocabularies."""
        return {}

    def field2property(self, field: marshmallow.fields.Field[Any]) -> dict[str, Any]:
        """Return a field as JSON Schema."""
        made = super().field2property(field)
        if isinstance(field, fields.TextOrTexts):
            made["anyOf"] = [self.field2property(inner) for inner in (field.text, field.texts)]
        about = {name: made.pop(name) for name in ABOUT if name in made}
        made = named_enum(special_shape(field, made))
        if field.allow_none and not isinstance(field.parent, Query):
            made = or_null(made)
        return about | made

    def schema2jsonschema(self, schema: Schema) -> dict[str, Any]:
        """Return a schema as JSON Schema, with its either-or rules and its example."""
        made: dict[str, Any] = {"description": first_sentence(type(schema))}
        made |= super().schema2jsonschema(schema)
        required = set(made.pop("required", ()))
        if isinstance(schema, ResponseSchema):
            required = made["properties"].keys() - schema.OPTIONAL
        if required:  # in the order of the fields
            made["required"] = [name for name in made["properties"] if name in required]
            made["additionalProperties"] = made.pop("additionalProperties")
        if isinstance(schema, Request):
            made |= rules(schema)
        if isinstance(schema, lead_schemas.LeadFields):
            # Other keys become metadata. TypeScript cannot give additionalProperties another type
            # than the named properties. unevaluatedProperties means the same here.
            del made["additionalProperties"]
            made["unevaluatedProperties"] = METADATA["additionalProperties"]
            made["propertyNames"] = METADATA["propertyNames"]
        if example := example_of(type(schema)):
            made["examples"] = [example]
        return made


class Plugin(MarshmallowPlugin):
    """apispec's plugin for marshmallow, with our converter."""

    Converter = Converter


def special_shape(field: marshmallow.fields.Field[Any], made: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON Schema that apispec made of a field, corrected for our own types."""
    if isinstance(field, marshmallow.fields.Constant):
        kind = "boolean" if field.constant is True else "string"
        return {"type": kind, "const": field.constant}
    if isinstance(field, fields.Metadata):
        return dict(METADATA)
    if isinstance(field, fields.DateTime) and not isinstance(field, fields.Instant):
        return {"anyOf": [{"type": "string", "format": "date-time"}, LOCAL_TIME]}
    if isinstance(field, fields.CommaList):
        # Not an array: too many callers would repeat the parameter instead of writing commas.
        if not field.choices:
            return made | {"pattern": fields.PRINTABLE}
        word = f"({'|'.join(field.choices)})"
        return made | {"pattern": f"^{word}(,{word})*$", "examples": [",".join(field.choices[:2])]}
    return made


def named_enum(made: dict[str, Any]) -> dict[str, Any]:
    """Replace a vocabulary that has a name by a reference to it."""
    name = ENUMS.get(tuple(made.get("enum", ())))
    return reference(name) if name else made


def or_null(shown: dict[str, Any]) -> dict[str, Any]:
    """Return a JSON Schema that allows null as well."""
    if "$ref" in shown:
        return {"anyOf": [shown, {"type": "null"}]}
    if "anyOf" in shown:
        return {"anyOf": [*shown["anyOf"], {"type": "null"}]}
    also = {"enum": [*shown["enum"], None]} if "enum" in shown else {}
    return shown | {"type": [shown["type"], "null"]} | also


def rules(schema: Request) -> dict[str, Any]:
    """Return the rules about which fields must come together, as JSON Schema."""
    made: dict[str, Any] = {}
    # Each anyOf is inside an allOf, because generators ignore the properties next to an anyOf.
    # A single anyOf lists all combinations, because tools merge several anyOf wrongly.
    if schema.EITHER_OR:
        made["allOf"] = [{"anyOf": [all_given(names) for names in product(*schema.EITHER_OR)]}]
    for name, (other, value) in schema.ONLY_WITH.items():
        given, absent = all_given([name]), {name: {"type": "null"}}
        given["properties"] |= {other: {"const": value}}
        others = {"properties": {**absent, other: {"not": {"const": value}}}}
        made["allOf"] = [{"anyOf": [given, others]}]
    if schema.NEEDS:
        made["dependentSchemas"] = {
            name: {"anyOf": [{"properties": {name: {"type": "null"}}}, all_given(needed)]}
            for name, needed in schema.NEEDS.items()
        }
    return made


def all_given(names: Iterable[str]) -> dict[str, Any]:
    """Return the JSON Schema of an object that has all these fields, none of them null."""
    given = {name: {"not": {"type": "null"}} for name in names}
    return {"required": [*given], "properties": given}


def example_of(schema: type[Schema]) -> dict[str, Any]:
    """Return a schema's example in the order of its fields, with nested schemas' examples."""
    if issubclass(schema, Request):
        return dict(schema.EXAMPLE or {})
    assert issubclass(schema, ResponseSchema)
    examples = EXAMPLES | WEBHOOK_EXAMPLES
    given = next((examples[kind] for kind in schema.__mro__ if kind in examples), {})
    made = {}
    for name, field in schema().fields.items():
        key = field.data_key or name
        if key in given:
            made[key] = given[key]
        elif key not in schema.OPTIONAL:
            made[key] = example_value(field)
    return made


def example_value(field: marshmallow.fields.Field[Any]) -> Any:
    """Return an example of a field's value."""
    if isinstance(field, marshmallow.fields.List):
        return [example_value(field.inner)]
    if isinstance(field, marshmallow.fields.Nested):
        return example_of(type(field.schema))
    if isinstance(field, marshmallow.fields.Constant):
        return field.constant
    for validator in field.validators:
        if choices := getattr(validator, "choices", None):
            return choices[0]
        if (least := getattr(validator, "min", None)) is not None:
            return least
    schema = type(field.root).__name__
    raise LookupError(f"{schema}.{field.name} needs an example in reference/examples.py.")


def name_of(schema: Any) -> str:
    """Return a schema's name in the document: `MeetingResponse` becomes `Meeting`."""
    kind = schema if isinstance(schema, type) else type(schema)
    return str(kind.__name__.removesuffix("Response"))


def first_sentence(described: Any) -> str:
    """Return the first sentence of a docstring, without its full stop."""
    text = " ".join((inspect.getdoc(described) or "").split())
    return text.partition(". ")[0].rstrip(".")


def reference(name: str) -> dict[str, Any]:
    """Return a reference to a schema among the components."""
    return {"$ref": f"#/components/schemas/{name}"}
