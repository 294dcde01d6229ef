"""Wire records inside a device's state as fields of its tree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from qmig.devices.tree import ARRAY, STRUCT, Field, Group, Numbers
from qmig.wire.gate import read_record
from qmig.wire.record import WireRecord, field_table, fixed_len, integer_len

if TYPE_CHECKING:
    from qmig.devices.body import Body

R = TypeVar("R", bound=WireRecord)
ZEROS: Final = "zeros"
"""The type of a field that stands for elements in which every byte is 0."""


def add_record(body: Body, group: Group, record: type[R], what: str) -> R:
    """Read a record without counted fields and add its fields to a group.

    Raises:
        StreamError: the section ends inside of it.
    """
    body.need(fixed_len(record), what)
    start = body.offset
    parsed = read_record(body, record, what=what)
    for name, (at, length) in field_table(record).items():
        value = getattr(parsed, name)
        kind = _kind(record, name)
        if isinstance(value, bytes | int):
            group.children.append(Field(name, kind, start + at, length, value))
        else:
            group.children.append(Numbers(name, kind, start + at, length, tuple(value)))
    return parsed


def add_struct(body: Body, group: Group, name: str, record: type[R], what: str) -> R:
    """Read a record and add it to a group as one of its own; see `add_record`."""
    struct = Group(name, record.__name__, STRUCT, body.offset)
    group.children.append(struct)
    parsed = add_record(body, struct, record, what)
    struct.length = body.offset - struct.offset
    return parsed


def add_array(
    body: Body, group: Group, name: str, record: type[R], count: int, what: str
) -> list[R]:
    """Read `count` records and add them as an array; return them up to the last that is not zero.

    QEMU writes the state of 1,024 queues for each virtio device: what is zero to the end of the
    array becomes one field.
    """
    step = fixed_len(record)
    body.need(step * count, what)
    array = Group(name, record.__name__, ARRAY, body.offset)
    group.children.append(array)
    used = -(-len(body.peek(step * count).rstrip(b"\0")) // step)
    records = [add_struct(body, array, f"[{at}]", record, what) for at in range(used)]
    if used < count:
        at, length = body.offset, step * (count - used)
        array.children.append(
            Field(f"[{used}:{count}]", ZEROS, at, length, body.blob(length, what))
        )
    array.length = body.offset - array.offset
    return records


def _kind(record: type[WireRecord], name: str) -> str:
    length = integer_len(record, name)
    return "buffer" if length is None else f"uint{8 * length}"
