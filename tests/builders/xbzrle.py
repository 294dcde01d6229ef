"""XBZRLE: one page as alternating runs of unchanged and of new bytes."""

from dataclasses import dataclass


def uleb128(value: int, *, long_form: bool = False) -> bytes:
    """Encode a count of at most 16383 in one byte, or two.

    Args:
        value: The count.
        long_form: Use two bytes although one would do.

    Raises:
        ValueError: The count does not fit.
    """
    if not 0 <= value <= 0x3FFF:
        raise ValueError(f"a count of {value} does not fit two bytes")
    if value < 0x80 and not long_form:
        return bytes([value])
    return bytes([value & 0x7F | 0x80, value >> 7])


@dataclass(frozen=True)
class Run:
    """So many unchanged bytes, then these new ones."""

    unchanged: int
    new: bytes


def runs(old: bytes, new: bytes) -> list[Run]:
    """Split a change into runs; an unchanged tail belongs to none."""
    found: list[Run] = []
    position = 0
    while position < len(new):
        start = position
        while position < len(new) and old[position] == new[position]:
            position += 1
        if position == len(new):
            break
        changed = position
        while position < len(new) and old[position] != new[position]:
            position += 1
        found.append(Run(changed - start, new[changed:position]))
    return found


def build(parts: list[Run]) -> bytes:
    """Build a body from runs, well-formed or not."""
    return b"".join(uleb128(run.unchanged) + uleb128(len(run.new)) + run.new for run in parts)


def encode(old: bytes, new: bytes) -> bytes:
    """Build the body that turns one page into another."""
    return build(runs(old, new))
