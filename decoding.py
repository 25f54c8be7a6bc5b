"""Decode JSON text: the bodies of requests, and the payloads of receipts."""

import json
from typing import Any


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _read_int(digits: str) -> int:
    # Python refuses to read more than 4,300 digits. A number of 300 digits is already beyond every
    # range of this service, and longer than an event id may be.
    return int(digits[:300])


_decoder = json.JSONDecoder(parse_constant=_refuse_constant, parse_int=_read_int)


def decode_json(text: str) -> Any:
    """Return the value of a JSON text; raises ValueError or RecursionError.

    NaN and Infinity are refused; of a key that occurs twice, the last value counts.
    """
    return _decoder.decode(text)
