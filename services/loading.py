"""Load an object, of a body or of a file, by its schema."""

from typing import Any

from marshmallow import Schema, ValidationError

from fields import clean
from services.results import Loaded


def load_object(schema: Schema, body: Any) -> Loaded:
    """Load a parsed value, which must be an object, as far as it is valid by the schema."""
    if not isinstance(body, dict):
        return Loaded({}, {"body": ["Must be a JSON object."]})
    try:
        return Loaded(schema.load(clean(body)), {})
    except ValidationError as error:
        valid = error.valid_data if isinstance(error.valid_data, dict) else {}
        return Loaded(valid, error.normalized_messages())
