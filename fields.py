"""The types of request fields: subclasses of marshmallow's, with our rules and error messages.

Where marshmallow has a validator for a rule, we use it, so that apispec can read the rule. `about`
and `SHAPE` are only for the documentation. Responses use marshmallow's own fields.
"""

import base64
import json
import math
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar

from marshmallow import ValidationError, fields, validate

from ids import is_uuid
from times import EARLIEST, OUT_OF_RANGE, TIMEZONES, TOO_LATE, read_date_time, to_instant

REQUIRED = "Required."
IDEMPOTENCY_KEY = "[ -~]{1,255}"
NOT_A_KEY = "Must be 1 to 255 printable ASCII characters."
REFUSED = "Must not contain control characters or unpaired surrogates."
WRONG_CURSOR = "Must be the next_cursor of an earlier response in the same order."
LARGEST_PAGE = 10**12
LONGEST_EMAIL, LONGEST_URL = 254, 2048
JSON_DEPTH = 64  # levels of nested arrays and objects
METADATA_KEYS = 100
METADATA_BYTES = 64 * 1024
INT64 = range(-(2**63), 2**63)

# All white space except control characters, but with tab, line feed and carriage return.
WHITE_SPACE = (
    " \t\n\r\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
CONTROL_CHARACTERS = r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f"
PRINTABLE = f"^[^{CONTROL_CHARACTERS}]*$"
REFUSED_CHARACTERS = re.compile(f"[{CONTROL_CHARACTERS}\ud800-\udfff]")
WHOLE_NUMBER = re.compile(r"-?[0-9]{1,19}(?:\.0+)?")


def clean(given: dict[str, Any]) -> dict[str, Any]:
    """Strip all texts of an object, its keys too, and remove the fields whose text is empty."""
    cleaned: dict[str, Any] = {}
    for key, value in given.items():
        if isinstance(value, str):
            value = value.strip(WHITE_SPACE)
        elif isinstance(value, dict | list):
            value = clean_value(value)
        cleaned[key.strip(WHITE_SPACE)] = value
    if "" in cleaned.values():
        return {key: value for key, value in cleaned.items() if value != ""}
    return cleaned


def clean_value(value: Any) -> Any:
    """Strip all texts of a JSON value, and remove fields with empty text from its objects."""
    if isinstance(value, str):
        return value.strip(WHITE_SPACE)
    if isinstance(value, list):
        return [clean_value(item) for item in value]
    return clean(value) if isinstance(value, dict) else value


class PlainText(validate.Length):
    """A validator that limits the length, in code points, and refuses control characters."""

    def __call__(self, value: Any) -> Any:
        """Return the text; raises ValidationError with the first fault."""
        if REFUSED_CHARACTERS.search(value):
            raise ValidationError(REFUSED)
        if self.max is not None and len(value) > self.max:
            sentence = f"Must be at most {self.max} characters long, not {len(value)}."
            raise ValidationError(sentence)
        if self.min is not None and len(value) < self.min:
            sentence = f"Must be at least {self.min} characters long, not {len(value)}."
            raise ValidationError(sentence)
        return value


class EmailAddress(validate.Email):
    """A validator of emails; it leaves those that are too long to the validator of the length.

    marshmallow's pattern takes a second for a text of a megabyte.
    """

    def __call__(self, value: str) -> str:
        """Return the email; raises ValidationError."""
        return value if len(value) > LONGEST_EMAIL else super().__call__(value)


class WebAddress(validate.URL):
    """A validator of http and https URLs with the scheme in lower case.

    It leaves those that are too long to the validator of the length.
    """

    def __call__(self, value: str) -> str:
        """Return the URL; raises ValidationError."""
        if len(value) > LONGEST_URL:
            return value
        if not value.startswith(("http://", "https://")):
            raise ValidationError(self.error)
        return super().__call__(value)


class InputField(fields.Field[Any]):
    """A mixin, listed before marshmallow's class: a field may be null unless it is required."""

    SHAPE: ClassVar[Mapping[str, Any]] = {}
    default_error_messages = {
        "required": REQUIRED,
        "null": REQUIRED,
        "invalid": "Must be text.",
    }

    def __init__(self, *args: Any, about: str = "", **options: Any) -> None:
        options.setdefault("allow_none", not options.get("required", False))
        description = {"description": about} if about else {}
        super().__init__(*args, metadata={**description, **self.SHAPE}, **options)


class Text(InputField, fields.String):
    """Text without control characters, of `shortest` to `longest` code points."""

    SHAPE = {"pattern": PRINTABLE}

    def __init__(self, longest: int, shortest: int | None = None, **options: Any) -> None:
        if options.get("required"):
            shortest = shortest or 1
        super().__init__(validate=PlainText(min=shortest, max=longest), **options)


class LowerCase(Text):
    """Text that is stored and compared in lower case."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        # Lowered before the length check: lower case is stored, and can be longer (İ).
        return super()._deserialize(value, *args, **kwargs).lower()


class Email(InputField, fields.Email):
    """An email address, stored as written."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        error = "Must be an email address, such as tony.stark@gmail.com."
        self.validators = [PlainText(max=LONGEST_EMAIL), EmailAddress(error=error)]


class Url(InputField, fields.Url):
    """An http or https URL."""

    SHAPE = {"format": "uri", "pattern": "^https?://"}

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        error = (
            "Must be a URL that begins with http:// or https://, such as"
            " https://meet.example.com/a."
        )
        is_url = WebAddress(schemes={"http", "https"}, require_tld=False, error=error)
        self.validators = [PlainText(max=LONGEST_URL), is_url]


class Slug(InputField, fields.String):
    """A short name of the characters a-z, 0-9, _ and -, except the reserved ones."""

    def __init__(self, longest: int, reserved: tuple[str, ...], **options: Any) -> None:
        pattern = f"^(?!({'|'.join(reserved)})$)[a-z0-9_-]{{1,{longest}}}$"
        error = (
            f"Must be 1 to {longest} of the characters a-z, 0-9, _ and -, and none of the reserved"
            f" words: {', '.join(reserved)}."
        )
        super().__init__(validate=validate.Regexp(pattern, error=error), **options)


class RequestKey(InputField, fields.String):
    """A caller's own name for a request, by which it can be sent again."""

    def __init__(self, **options: Any) -> None:
        pattern = f"^{IDEMPOTENCY_KEY}$"
        super().__init__(validate=validate.Regexp(pattern, error=NOT_A_KEY), **options)


class Choice(InputField, fields.String):
    """One of a few words."""

    def __init__(self, choices: tuple[str, ...], **options: Any) -> None:
        one_of = validate.OneOf(choices, error="Must be one of: {choices}.")
        super().__init__(validate=one_of, **options)


class Id(InputField, fields.UUID):
    """A UUID in the usual form, as lower-case text."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(value, str):
            raise self.make_error("invalid")
        if not is_uuid(value):
            raise ValidationError("Must be a UUID, such as 0198c0de-0000-7000-8000-000000000000.")
        return value.lower()


class Timezone(InputField, fields.String):
    """The name of an IANA time zone."""

    SHAPE = {"format": "iana-time-zone", "examples": ["America/Santiago"]}

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        text = super()._deserialize(value, *args, **kwargs)
        if text not in TIMEZONES:
            raise ValidationError(
                "Must be the name of an IANA time zone, such as America/Santiago."
            )
        return text


class DateTime(InputField, fields.DateTime):
    """An ISO 8601 date and time: aware if it has an offset, else wall-clock time."""

    HINT = "Must be an ISO 8601 date and time, such as 2025-12-29T14:00:00 or 2025-12-29T17:00:00Z."

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> datetime:
        if not isinstance(value, str):
            raise self.make_error("invalid")
        try:
            return read_date_time(value)
        except OverflowError as error:
            raise ValidationError(OUT_OF_RANGE) from error
        except ValueError as error:
            raise ValidationError(self.HINT) from error


class UtcDateTime(DateTime):
    """An ISO 8601 date and time, UTC unless it has an offset, loaded as an instant in UTC."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> datetime:
        return _in_range(super()._deserialize(value, *args, **kwargs))


def _in_range(written: datetime) -> datetime:
    instant = to_instant(written)
    if not EARLIEST <= instant < TOO_LATE:
        raise ValidationError(OUT_OF_RANGE)
    return instant


class Instant(DateTime):
    """An ISO 8601 date and time with its offset, loaded as an instant in UTC."""

    HINT = "Must be an ISO 8601 date and time with its offset, such as 2025-12-29T17:00:00Z."

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> datetime:
        # Callers send + unescaped in a query, which turns it into a space.
        plus = value.replace(" ", "+") if isinstance(value, str) and "T" in value else value
        written = super()._deserialize(plus, *args, **kwargs)
        if written.tzinfo is None:
            raise ValidationError("Must have an offset, such as 2025-12-29T17:00:00Z.")
        return _in_range(written)


class Integer(InputField, fields.Integer):
    """A whole number within bounds: `60`, also written `60.0` or `"60"`."""

    def __init__(self, least: int, most: int, **options: Any) -> None:
        error = f"Must be a whole number from {least} to {most}."
        super().__init__(
            validate=validate.Range(least, most, error=error),
            error_messages={"invalid": error},
            **options,
        )

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> int:
        if isinstance(value, str) and WHOLE_NUMBER.fullmatch(value):
            return int(value.partition(".")[0])
        if isinstance(value, float) and value.is_integer():
            return int(value)
        if type(value) is not int:  # isinstance would accept a boolean
            raise self.make_error("invalid")
        return value


class Boolean(InputField, fields.Boolean):
    """`true` or `false`, also written as text."""

    default_error_messages = {"invalid": "Must be true or false."}

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> bool:
        if isinstance(value, bool):
            return value
        if value not in ("true", "false"):
            raise self.make_error("invalid")
        return bool(value == "true")


class ShortList(InputField, fields.List[Any]):
    """A list of at most `most` items, counted before loading, because a list may be very long."""

    def __init__(self, item: Any, noun: str, most: int, **options: Any) -> None:
        invalid = {"invalid": f"Must be a list of {noun}."} | options.pop("error_messages", {})
        length = validate.Length(max=most)
        super().__init__(item, validate=length, error_messages=invalid, **options)
        self.noun, self.most = noun, most

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(value, list) and len(value) > self.most:
            sentence = f"Must hold at most {self.most} {self.noun}, not {len(value)}."
            raise ValidationError(sentence)
        return super()._deserialize(value, *args, **kwargs)


class TextOrTexts(InputField, fields.Field[Any]):
    """A text, or a list of texts, of which empty ones are left out."""

    def __init__(self, longest: int, most: int, longest_each: int, **options: Any) -> None:
        super().__init__(**options)
        invalid = "Must be a text or a list of texts."
        self.text = Text(longest, allow_none=False, error_messages={"invalid": invalid})
        item = Text(longest_each, allow_none=False, error_messages={"null": "Must be text."})
        self.texts = ShortList(item, "texts", most, allow_none=False)

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(value, list):
            return self.text.deserialize(value)
        return [text for text in self.texts.deserialize(value) if text]


class Metadata(InputField, fields.Dict):
    """An object of text, numbers, booleans and nulls, with keys of at most 255 characters."""

    default_error_messages = {
        "invalid": "Must be an object of text, numbers, booleans and null.",
        "key": "Must be a key of 1 to 255 characters, without control characters.",
        "value": "Must be text, a number, a boolean or null.",
        "number": "Must be finite and, if whole, lie between -2^63 and 2^63-1.",
        "characters": REFUSED,
    }

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.make_error("invalid")
        wrong = {
            key: [self.error_messages[fault]]
            for key, item in value.items()
            if (fault := _metadata_item_fault(key, item))
        }
        if wrong:
            raise ValidationError(wrong)
        if too_much := metadata_fault(value):
            raise ValidationError(too_much)
        return value


def metadata_fault(metadata: dict[str, Any]) -> str | None:
    """Return an error if a lead's metadata is too large; nulls are not stored and do not count."""
    stored = {key: value for key, value in metadata.items() if value is not None}
    if len(stored) > METADATA_KEYS:
        return f"Must hold at most {METADATA_KEYS} keys, not {len(stored)}."
    text = json.dumps(stored, ensure_ascii=False, separators=(",", ":"))
    size = len(text.encode("utf-8", "backslashreplace"))
    if size > METADATA_BYTES:
        return f"Must be at most {METADATA_BYTES} bytes of JSON, not {size}."
    return None


def _metadata_item_fault(key: str, value: Any) -> str:
    if not 1 <= len(key) <= 255 or REFUSED_CHARACTERS.search(key):
        return "key"
    return _scalar_fault(value)


def _scalar_fault(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return ""
    if isinstance(value, str):
        return "characters" if REFUSED_CHARACTERS.search(value) else ""
    if isinstance(value, int):
        return "" if value in INT64 else "number"
    if isinstance(value, float):
        # The limits hold for whole numbers, and every finite float beyond 2^53 is whole.
        return "" if math.isfinite(value) and -(2**63) <= value < 2**63 else "number"
    return "value"


class JsonObject(InputField, fields.Dict):
    """An object of any JSON values that both databases can store, of at most `most` bytes."""

    default_error_messages = {
        "invalid": "Must be an object.",
        "number": "Must hold only numbers that are finite and, if whole, between -2^63 and 2^63-1.",
        "characters": "Must not hold control characters or unpaired surrogates.",
        "depth": f"Must not be nested deeper than {JSON_DEPTH}.",
    }

    def __init__(self, most: int, **options: Any) -> None:
        super().__init__(**options)
        self.most = most

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.make_error("invalid")
        if fault := _json_fault(value, JSON_DEPTH):
            raise self.make_error(fault)
        size = len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())
        if size > self.most:
            raise ValidationError(f"Must be at most {self.most} bytes of JSON, not {size}.")
        return value


def _json_fault(value: Any, levels: int) -> str:
    if not isinstance(value, dict | list):
        return _scalar_fault(value)
    if not levels:
        return "depth"
    inner = [*value, *value.values()] if isinstance(value, dict) else value
    return next(filter(None, (_json_fault(item, levels - 1) for item in inner)), "")


class CommaList(InputField, fields.String):
    """Words separated by commas, loaded as a set; only words of `choices`, if there are any."""

    SHAPE = {"maxLength": 255}

    def __init__(self, choices: tuple[str, ...] = (), **options: Any) -> None:
        super().__init__(**options)
        self.choices = choices

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        text = PlainText(max=255)(super()._deserialize(value, *args, **kwargs))
        words = frozenset(word for part in text.split(",") if (word := part.strip(WHITE_SPACE)))
        if self.choices and (not words or not words.issubset(self.choices)):
            raise ValidationError(f"Must be a comma-separated list of: {', '.join(self.choices)}.")
        return words


class Cursor(InputField, fields.String):
    """The key of a page's last row, as `write_cursor` wrote it: order, instant, id."""

    SHAPE = {"maxLength": 255, "pattern": "^[A-Za-z0-9_-]+={0,2}$"}

    def __init__(self, order: str | None = None, **options: Any) -> None:
        """Refuse a cursor of another list than that of the order given, if any."""
        super().__init__(about="The `next_cursor` of the previous page.", **options)
        self.order = order

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        text = PlainText(max=255)(super()._deserialize(value, *args, **kwargs))
        try:
            order, at, row_id = _read_base64(text)
            instant = datetime.fromisoformat(at)
            is_key = instant.utcoffset() == timedelta(0) and is_uuid(row_id)
        except (ValueError, TypeError, RecursionError) as error:
            raise ValidationError(WRONG_CURSOR) from error
        if not is_key or self.order not in (None, order):
            raise ValidationError(WRONG_CURSOR)
        return order, instant, row_id


def _read_base64(text: str) -> Any:
    return json.loads(base64.b64decode(text.encode(), b"-_", validate=True))


def _write_base64(value: list[Any]) -> str:
    return base64.b64encode(json.dumps(value).encode(), b"-_").decode()


def write_cursor(key: tuple[str, datetime, str] | None) -> str | None:
    """Return an opaque cursor for a row's key (order, instant, id), or None for None."""
    if key is None:
        return None
    order, at, row_id = key
    return _write_base64([order, at.isoformat(), row_id])


class PagePosition(InputField, fields.String):
    """The number of a page, counted from 0, and its rows, as `write_position` wrote them."""

    SHAPE = Cursor.SHAPE

    def __init__(self, most_rows: int, **options: Any) -> None:
        super().__init__(**options)
        self.most_rows = most_rows

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        text = PlainText(max=255)(super()._deserialize(value, *args, **kwargs))
        try:
            page, rows = _read_base64(text)
        except (ValueError, TypeError, RecursionError) as error:
            raise ValidationError(WRONG_CURSOR) from error
        are_whole = type(page) is int and type(rows) is int
        if not are_whole or not 0 <= page <= LARGEST_PAGE or not 1 <= rows <= self.most_rows:
            raise ValidationError(WRONG_CURSOR)
        return page, rows


def write_position(page: int, rows: int) -> str:
    """Return an opaque cursor for the page with this number, of `rows` rows."""
    return _write_base64([page, rows])
