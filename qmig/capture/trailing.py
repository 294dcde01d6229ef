"""What stands behind the last record of a stream: padding, or other data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from qmig.limits import MIB

if TYPE_CHECKING:
    from qmig.capture.source import Source

_LOOK_LEN: Final = 16 * MIB


@dataclass
class Trailing:
    """What stands behind the last record of a stream.

    Attributes:
        offset: first byte.
        length: bytes.
        zeros: whether they are all zero, as far as they were looked at.
        looked_at_len: how many bytes were looked at.
        first: the first of them.
    """

    offset: int
    length: int
    zeros: bool
    looked_at_len: int
    first: int


def look_at_trailing(source: Source, start: int) -> Trailing:
    """Look at what stands behind the stream, up to 16 MiB of it; a pipe is read to its end."""
    looked = 0
    zeros = True
    first = source.read_at(start, 1)
    while looked < _LOOK_LEN:
        data = source.read_at(start + looked, MIB)
        zeros = zeros and not data.strip(b"\0")
        looked += len(data)
        if len(data) < MIB:
            break
    end = source.end()
    while end is None:
        data = source.read_at(start + looked, MIB)
        looked += len(data)
        source.release(start + looked)
        end = source.end()
    return Trailing(start, end - start, zeros, looked, int.from_bytes(first, "big"))
