"""A wire record declared once: construct schema, typed fields, dtype and documentation.

A record is a class whose attributes are declared with `wire` and `constant`::

    class FooterRecord(WireRecord):
        mark: int = constant(0x7E, Int8ub, "section footer")
        section_id: int = wire(Int32ub, "id of the section that ends here")

From that one declaration come the construct `Struct` (`SCHEMA`), the typed attributes, the
fixed part's byte layout (`field_table`), a numpy dtype for bulk work (`dtype_of`), a compiled
`struct.Struct` for hot loops (`fast_struct`) and the tables in `docs/format/`. A record that is
derived from another one begins with its fields.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self, TypeVar, dataclass_transform

from construct import (
    Array,
    Bytes,
    Const,
    Construct,
    FormatField,
    GreedyBytes,
    Int8ub,
    Int32ub,
    Int32ul,
    Prefixed,
    Renamed,
    Struct,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np


class Counted(Prefixed):  # type: ignore[misc]  # construct has no types
    """Bytes behind their own length; not NUL-terminated.

    Args:
        lengthfield: the construct integer that holds the length.
        max_len: the ceiling that a reader applies before it believes the length.
        word: what the documentation calls it.
    """

    def __init__(self, lengthfield: Construct, *, max_len: int, word: str) -> None:
        super().__init__(lengthfield, GreedyBytes)
        self.max_len = max_len
        self.word = word


COUNTED_STRING: Final = Counted(Int8ub, max_len=255, word="counted string (u8 length)")


def counted32(*, max_len: int) -> Counted:
    """Return bytes behind a be32 length of at most `max_len`."""
    return Counted(Int32ub, max_len=max_len, word="counted bytes (be32 length)")


class _WireField:
    __slots__ = ("doc", "subcon")

    def __init__(self, subcon: Construct, doc: str) -> None:
        self.subcon = subcon
        self.doc = doc


def wire(subcon: Construct, doc: str) -> Any:  # noqa: ANN401  # the annotation tells
    """Declare one field of a `WireRecord`.

    Args:
        subcon: the construct that parses and builds the field.
        doc: meaning and unit, one line; it appears in `docs/format/`.
    """
    return _WireField(subcon, doc)


def constant(
    value: int | bytes,
    subcon: Construct,
    doc: str,
    *,
    init: Literal[False] = False,  # tells type checkers that the constructor fills it in
) -> Any:  # noqa: ANN401  # the annotation tells
    """Declare a field that always has one value: a magic number or a mark.

    Args:
        value: the value; another one does not parse.
        subcon: the construct that parses and builds it.
        doc: meaning, one line; it appears in `docs/format/`.
        init: for type checkers only.
    """
    return _WireField(Const(value, subcon), doc)


@dataclass_transform(kw_only_default=True, field_specifiers=(wire, constant))
class WireRecord:
    """Base of all wire records; see the module's text.

    Attributes:
        SCHEMA: the construct `Struct` of all fields, in order.
        DOCS: field name -> its one-line description.
    """

    SCHEMA: ClassVar[Any]
    DOCS: ClassVar[dict[str, str]]
    _declared: ClassVar[dict[str, _WireField]] = {}
    _constants: ClassVar[dict[str, object]]

    def __init_subclass__(cls) -> None:
        own = {k: v for k, v in vars(cls).items() if isinstance(v, _WireField)}
        for name in own:
            delattr(cls, name)
        # Those of the record that this one begins with come first.
        declared = cls._declared = {**cls._declared, **own}
        cls.SCHEMA = Struct(*(name / field.subcon for name, field in declared.items()))
        cls.DOCS = {name: field.doc for name, field in declared.items()}
        cls._constants = {
            name: field.subcon.value
            for name, field in declared.items()
            if isinstance(field.subcon, Const)
        }

    def __init__(self, **values: object) -> None:
        for name in self.DOCS:
            value = values.pop(name, self._constants.get(name))
            if value is None:
                raise TypeError(f"{type(self).__name__}: no value for {name}")
            setattr(self, name, value)
        if values:
            raise TypeError(f"{type(self).__name__}: no such field: {', '.join(values)}")

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Parse exactly one record; construct's errors pass through (use `gate` for input)."""
        container = cls.SCHEMA.parse(data)
        return cls(**{name: container[name] for name in cls.DOCS})

    def build(self) -> bytes:
        """Return the record's bytes."""
        built: bytes = self.SCHEMA.build(self.as_dict())
        return built

    def as_dict(self) -> dict[str, Any]:
        """Return field name -> value, in wire order."""
        return {name: getattr(self, name) for name in self.DOCS}

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.as_dict() == other.as_dict()

    __hash__ = None  # type: ignore[assignment]  # records can be changed, as construct's can

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self.as_dict().items())
        return f"{type(self).__name__}({fields})"


R = TypeVar("R", bound=WireRecord)
T = TypeVar("T")


def byte_swapped(record: type[R]) -> type[R]:
    """Return a little-endian record as a big-endian host writes it: the same fields."""
    fields = {
        subcon.name: wire(_swap(plain(subcon)), record.DOCS[subcon.name])
        for subcon in record.SCHEMA.subcons
    }
    name = f"{record.__name__}BigEndian"
    swapped: type[R] = type(name, record.__bases__, {"__doc__": record.__doc__, **fields})
    return swapped


def _swap(subcon: Construct) -> Construct:
    if isinstance(subcon, Array):
        return Array(subcon.count, _swap(subcon.subcon))
    return Int32ub if subcon is Int32ul else subcon


def _once(make: Callable[[type[WireRecord]], T]) -> Callable[[type[WireRecord]], T]:
    """Cache a function of a record's class (typed here, for classes are hashable whatever)."""
    cached: Callable[..., T] = cache(make)
    return cached


def plain(subcon: Construct) -> Construct:
    """Return a construct without its name and constant wrappers."""
    while isinstance(subcon, Renamed | Const):
        subcon = subcon.subcon
    return subcon


def subcon_of(record: type[WireRecord], field: str) -> Construct:
    """Return the construct of one field, without its wrappers."""
    for subcon in record.SCHEMA.subcons:
        if subcon.name == field:
            return plain(subcon)
    raise KeyError(field)


def integer_len(record: type[WireRecord], field: str) -> int | None:
    """Return the bytes of an integer, or of each one of an array of them; None for bytes."""
    subcon = subcon_of(record, field)
    if isinstance(subcon, Array):
        subcon = plain(subcon.subcon)
    return int(subcon.sizeof()) if isinstance(subcon, FormatField) else None


@_once
def field_table(record: type[WireRecord]) -> dict[str, tuple[int, int]]:
    """Return field -> (offset, length) in bytes for the fields before the first counted one."""
    table: dict[str, tuple[int, int]] = {}
    offset = 0
    for subcon in record.SCHEMA.subcons:
        if isinstance(plain(subcon), Counted):
            break
        table[subcon.name] = (offset, subcon.sizeof())
        offset += subcon.sizeof()
    return table


@_once
def has_counted(record: type[WireRecord]) -> bool:
    """Tell whether a record has a counted field, so that its length is in its bytes."""
    return any(isinstance(plain(subcon), Counted) for subcon in record.SCHEMA.subcons)


@_once
def fixed_len(record: type[WireRecord]) -> int:
    """Return the length in bytes of a record without counted fields."""
    length: int = record.SCHEMA.sizeof()
    return length


_CODES: Final = {"B": "u1", "H": "u2", "L": "u4", "Q": "u8"}


@_once
def dtype_of(record: type[WireRecord]) -> np.dtype[Any]:
    """Return the packed numpy dtype of a fixed-length record, derived from its schema."""
    import numpy as np

    return np.dtype([(s.name, *_numpy_type(plain(s))) for s in record.SCHEMA.subcons])


def _numpy_type(subcon: Construct) -> tuple[Any, ...]:
    if isinstance(subcon, FormatField):
        order, code = subcon.fmtstr[0], subcon.fmtstr[1]
        return (f"{order}{_CODES[code]}",)
    if isinstance(subcon, Array):
        return (*_numpy_type(plain(subcon.subcon)), (subcon.count,))
    return (f"V{subcon.sizeof()}",)


@_once
def fast_struct(record: type[WireRecord]) -> struct.Struct:
    """Return a `struct.Struct` of a record made of integers and bytes, for hot loops.

    Raises:
        TypeError: the record has a field that `struct` cannot express in this byte order.
    """
    return field_struct(record, *record.DOCS)


def field_struct(record: type[WireRecord], *names: str) -> struct.Struct:
    """Return a `struct.Struct` of some fields of a record, which steps over the others.

    Args:
        record: a record of fixed length.
        names: integers and bytes, in any order; they are unpacked in that of the record.

    Raises:
        TypeError: `struct` cannot express one of them in this byte order.
    """
    code = [">"]
    for renamed in record.SCHEMA.subcons:
        subcon = plain(renamed)
        if renamed.name not in names:
            code.append(f"{subcon.sizeof()}x")
        elif isinstance(subcon, FormatField) and subcon.fmtstr[0] == ">":
            code.append(subcon.fmtstr[1])
        elif isinstance(subcon, Bytes):
            code.append(f"{subcon.sizeof()}s")
        else:
            raise TypeError(f"{record.__name__}.{renamed.name} has no struct code")
    return struct.Struct("".join(code))


@_once
def fast_parser(record: type[WireRecord]) -> Callable[[bytes], Any]:
    """Return a function that parses a record of integers, bytes and arrays of integers.

    It is some ten times as fast as `parse`. Constants are not compared: the caller has done that.
    """
    code, fields = [">"], []
    position = 0
    for renamed in record.SCHEMA.subcons:
        subcon = plain(renamed)
        count = subcon.count if isinstance(subcon, Array) else None
        item = subcon if count is None else plain(subcon.subcon)
        if isinstance(item, FormatField) and item.fmtstr[0] == ">":
            code.append(f"{count or 1}{item.fmtstr[1]}")
        elif isinstance(item, Bytes) and count is None:
            code.append(f"{item.sizeof()}s")
        else:
            raise TypeError(f"{record.__name__}.{renamed.name} has no struct code")
        fields.append((renamed.name, position, count))
        position += count or 1
    unpack = struct.Struct("".join(code)).unpack

    def parse(data: bytes) -> WireRecord:
        values = unpack(data)
        parsed = record.__new__(record)
        for name, at, count in fields:
            setattr(parsed, name, values[at] if count is None else list(values[at : at + count]))
        return parsed

    return parse
