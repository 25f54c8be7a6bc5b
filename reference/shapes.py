"""What fields take and schemas hold, as JSON Schema: apispec, taught our own fields and schemas."""

import inspect
from collections.abc import Iterable
from functools import singledispatch
from itertools import product
from typing import Any

from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.openapi import OpenAPIConverter
from marshmallow import Schema, fields

import models
import schemas
from envelopes import Answer
from schemas import Query, Request, Shown

# Vocabularies with names of their own, by which they are one type to clients.
ENUMS = {
    models.LOCATION_TYPES: "LocationType",
    models.BOOKING_STATUSES: "BookingStatus",
    models.SHOWN_STATUSES: "MeetingStatus",
    models.ACTIVITY_TYPES: "ActivityKind",
}
LOCAL_TIME = {
    "type": "string",
    "format": "date-time-local",  # spec.openapis.org/registry/format; few validators know it
    "pattern": "^(19[7-9]|2[01][0-9])[0-9]-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    "T([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?$",
}


@singledispatch
def shape(field: fields.Field[Any]) -> dict[str, Any]:
    """What a field takes, as JSON Schema; null aside."""
    raise TypeError(f"no shape for {field!r}")


@shape.register
def _(field: schemas.Text) -> dict[str, Any]:
    least = {"minLength": 1} if field.required else {}
    return {"type": "string", "maxLength": field.longest, "pattern": schemas.PRINTABLE} | least


@shape.register
def _(field: schemas.Email) -> dict[str, Any]:
    return {"type": "string", "format": "email", "maxLength": field.longest}


@shape.register
def _(field: schemas.Url) -> dict[str, Any]:
    return {"type": "string", "format": "uri", "pattern": "^https?://", "maxLength": field.longest}


@shape.register
def _(field: schemas.Choice) -> dict[str, Any]:
    return named_enum({"type": "string", "enum": [*field.choices]})


@shape.register
def _(field: schemas.Id) -> dict[str, Any]:
    return {"type": "string", "format": "uuid"}


@shape.register
def _(field: schemas.Timezone) -> dict[str, Any]:
    return {"type": "string", "format": "iana-time-zone", "examples": ["America/Santiago"]}


@shape.register
def _(field: schemas.DateTime) -> dict[str, Any]:
    return {"anyOf": [{"type": "string", "format": "date-time"}, LOCAL_TIME]}


@shape.register
def _(field: schemas.OffsetDateTime) -> dict[str, Any]:
    return {"type": "string", "format": "date-time"}


@shape.register
def _(field: schemas.Cursor) -> dict[str, Any]:
    return {"type": "string", "maxLength": field.longest, "pattern": "^[A-Za-z0-9_-]+={0,2}$"}


@shape.register
def _(field: schemas.CommaList) -> dict[str, Any]:
    # Not an array: too many callers would repeat the parameter in place of writing commas.
    words = {"type": "string", "maxLength": field.longest}
    if not field.choices:
        return words | {"pattern": schemas.PRINTABLE}
    word = f"({'|'.join(field.choices)})"
    return words | {"pattern": f"^{word}(,{word})*$", "examples": [",".join(field.choices[:2])]}


@shape.register
def _(field: schemas.WholeNumber) -> dict[str, Any]:
    return {"type": "integer", "minimum": field.least, "maximum": field.most}


@shape.register
def _(field: schemas.Metadata) -> dict[str, Any]:
    return dict(schemas.METADATA)


@shape.register
def _(field: schemas.Attendees) -> dict[str, Any]:
    return {"type": "array", "maxItems": schemas.MOST_ATTENDEES}


def named_enum(made: dict[str, Any]) -> dict[str, Any]:
    """A reference to what is a vocabulary with a name of its own: it is one type to clients."""
    name = ENUMS.get(tuple(made.get("enum", ())))
    return reference(name) if name else made


class Converter(OpenAPIConverter):
    """apispec's way from marshmallow to JSON Schema, which knows our own fields and schemas too."""

    def init_attribute_functions(self) -> None:
        """Let our fields speak for themselves, after apispec's own functions."""
        super().init_attribute_functions()
        self.attribute_functions.append(self.our_field)

    def our_field(self, field: fields.Field[Any], ret: dict[str, Any]) -> dict[str, Any]:
        """What a field of ours takes or shows, as JSON Schema."""
        if isinstance(field, Shown):
            shown = self.like(field.like)
        elif isinstance(field, schemas.Given | schemas.Attendees):
            shown = shape(field)
        else:
            return {}
        null = field.allow_none and not isinstance(field.parent, Query)
        return or_null(shown) if null else shown

    def like(self, like: schemas.Like) -> dict[str, Any]:
        """What a value of an answer can be, as JSON Schema."""
        if isinstance(like, list):
            return {"type": "array", "items": self.like(like[0])}
        if isinstance(like, type):
            reference: dict[str, Any] = self.resolve_nested_schema(like)
            return reference
        return named_enum(dict(like))

    def schema2jsonschema(self, schema: Schema) -> dict[str, Any]:
        """A schema as JSON Schema: its words, its either-or rules and its example as well."""
        made: dict[str, Any] = {"description": first_sentence(type(schema))}
        made |= super().schema2jsonschema(schema)
        if "required" in made:  # in the order of the fields
            made["required"] = [name for name in made["properties"] if name in made["required"]]
        if isinstance(schema, Request):
            made |= rules(schema)
        if isinstance(schema, schemas.LeadChanges):
            # Other keys go into metadata. TypeScript could not tell additional properties of one
            # type from those named, so they are called unevaluated, which comes to the same.
            del made["additionalProperties"]
            made["unevaluatedProperties"] = schemas.METADATA["additionalProperties"]
            made["propertyNames"] = schemas.METADATA["propertyNames"]
        if example := example_of(type(schema)):
            made["examples"] = [example]
        return made


class Plugin(MarshmallowPlugin):
    """apispec's plugin for marshmallow, with our converter."""

    Converter = Converter


def or_null(shown: dict[str, Any]) -> dict[str, Any]:
    """The same, or null."""
    if "$ref" in shown:
        return {"anyOf": [shown, {"type": "null"}]}
    if "anyOf" in shown:
        return {"anyOf": [*shown["anyOf"], {"type": "null"}]}
    also = {"enum": [*shown["enum"], None]} if "enum" in shown else {}
    return shown | {"type": [shown["type"], "null"]} | also


def rules(schema: Request) -> dict[str, Any]:
    """The rules about which fields must come together, as JSON Schema."""
    made: dict[str, Any] = {}
    if schema.EITHER_OR:
        # Every way to take one of each pair, in one anyOf: readers of several merge them wrongly.
        # Within an allOf: generators take a schema with an anyOf of its own for nothing but that.
        made["allOf"] = [{"anyOf": [all_given(names) for names in product(*schema.EITHER_OR)]}]
    if schema.NEEDS:
        made["dependentSchemas"] = {
            name: {"anyOf": [{"properties": {name: {"type": "null"}}}, all_given(needed)]}
            for name, needed in schema.NEEDS.items()
        }
    return made


def all_given(names: Iterable[str]) -> dict[str, Any]:
    """What an object has to be to hold all these fields, and no null in them."""
    given = {name: {"not": {"type": "null"}} for name in names}
    return {"required": [*given], "properties": given}


def example_of(schema: type[Schema]) -> dict[str, Any]:
    """A schema's example in the order of its fields, made of those of the schemas within it."""
    given: dict[str, Any] = getattr(schema, "EXAMPLE", None) or {}
    if not issubclass(schema, schemas.ResponseSchema | Answer):
        return dict(given)
    made = {}
    for name, field in schema._declared_fields.items():
        key = field.data_key or name
        if key in given:
            made[key] = given[key]
        elif isinstance(field, Shown) and field.required:
            made[key] = example_like(field.like)
    return made


def example_like(like: schemas.Like) -> Any:
    """An example of a value in an answer."""
    if isinstance(like, list):
        return [example_of(like[0])]
    if isinstance(like, type):
        return example_of(like)
    if "enum" in like:
        return like["enum"][0]
    return like.get("const", like.get("minimum"))


def name_of(schema: Any) -> str:
    """What a schema is called: `MeetingResponse` is a Meeting to callers."""
    kind = schema if isinstance(schema, type) else type(schema)
    return str(kind.__name__.removesuffix("Response"))


def first_sentence(described: Any) -> str:
    """The first sentence of something's docstring, without its full stop."""
    text = " ".join((inspect.getdoc(described) or "").split())
    return text.partition(". ")[0].rstrip(".")


def reference(name: str) -> dict[str, Any]:
    """A reference to a schema among the components."""
    return {"$ref": f"#/components/schemas/{name}"}
