"""The ids of rows: UUIDs of version 7."""

import random
import re
import time
from threading import Lock

UUID_FORM = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class _Ids:
    """Makes UUIDs of version 7 (RFC 9562, section 5.7), which only grow within a process.

    Apart from the version, the 64 leading bits are the time in units of 1/4096 ms. When the clock
    stands still or steps back, they continue from the last id.
    """

    def __init__(self) -> None:
        self._last = 0
        self._lock = Lock()

    def new(self) -> str:
        milliseconds, rest = divmod(time.time_ns(), 1_000_000)
        with self._lock:
            ticks = self._last = max(milliseconds << 12 | rest * 4096 // 1_000_000, self._last + 1)
        head = (ticks >> 12) << 16 | 0x7000 | ticks & 0xFFF
        # Ids are not secret, so these bits need not come from the system's secure source.
        tail = 0b10 << 62 | random.getrandbits(62)
        digits = f"{head:016x}{tail:016x}"
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


new_id = _Ids().new


def is_uuid(text: str) -> bool:
    """Return whether the text is a UUID in the usual form, in upper or lower case."""
    return UUID_FORM.fullmatch(text) is not None
