"""Decode a device's bytes by the description that the stream has of it.

Facts: migration/vmstate.c (vmstate_save_state_v, vmsd_desc_field_start), vmstate-types.c. A field's
`size` is what one element wrote, everything nested in it counted. An array whose elements are
alike is described once, with `array_len`; the others field by field, with the same name and, but
for a last group of one element since 10.0, an `index`. A list repeats the keys of its field, once
for each element.

The description comes from outside: each size is held against the bytes that are there before
anything is read or kept, nested ones against what contains them, and the number of fields and
their depth have ceilings.
"""

from __future__ import annotations

import sys
from array import array
from typing import TYPE_CHECKING, Any

from qmig.devices import kinds
from qmig.devices.opaque import DECODERS
from qmig.devices.tree import ARRAY, LIST, STRUCT, SUBSECTION, Field, Group, Numbers, settle
from qmig.errors import LimitExceededError, StreamError
from qmig.limits import MAX_DEVICE_FIELDS, MAX_DEVICE_NESTING, MAX_DEVICE_NUMBERS_LEN
from qmig.wire.framing import SubsectionHead
from qmig.wire.gate import read_record
from qmig.wire.vmdesc import Pairs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qmig.devices.body import Body

NOT_DECODED = "not decoded"


def decode_body(body: Body, description: Pairs, name: str) -> tuple[Group, StreamError | None]:
    """Decode a section's body.

    Args:
        body: the bytes, at their beginning.
        description: of the device, as `qmig.wire.vmdesc.decode_device` gives it.
        name: the name of the tree's root.

    Returns:
        The tree, whose leaves tile the body, and what is wrong. Behind the first thing that is,
        the tree has one field of the type NOT_DECODED with all the other bytes.
    """
    root = Group(name, _text(description, "vmsd_name"), STRUCT, body.offset)
    root.version = _count(description, "version")
    error = None
    try:
        Decoder(body).layout(root, description)
        if body.left:
            raise body.wrong(
                body.offset,
                "",
                expected="the end of the section, by its description",
                found=f"{body.left} more bytes",
            )
    except StreamError as failure:
        error = failure
        left_undecoded(body, root)
    root.length = body.end - root.offset
    return root, error


def left_undecoded(body: Body, root: Group) -> None:
    """Add the bytes that no node of a tree accounts for, as one field."""
    body.offset = root.offset + settle(root)
    root.length = body.end - root.offset
    if body.left:
        start, length = body.offset, body.left
        root.children.append(
            Field(NOT_DECODED, NOT_DECODED, start, length, body.blob(length, NOT_DECODED))
        )


class Decoder:
    """Decodes one body.

    Args:
        body: the bytes.
    """

    def __init__(self, body: Body) -> None:
        self._body = body
        self._fields = 0

    def layout(self, group: Group, description: Pairs, path: str = "", depth: int = 0) -> None:
        """Decode fields and subsections into a group.

        Raises:
            StreamError: the bytes are not what the description says.
        """
        body = self._body
        if depth > MAX_DEVICE_NESTING:
            raise self._too_many(path, "levels", MAX_DEVICE_NESTING)
        for name, pieces in self._arrays(_objects(body, description, "fields", path)):
            at = f"{path}.{name}" if path else name
            if len(pieces) == 1 and pieces[0].first("index") is None:
                self._field(group, name, pieces[0], at, depth)
                continue
            whole = self._group(group, name, _text(pieces[0], "type"), ARRAY)
            try:
                for piece in pieces:
                    self._piece(whole, piece, at, depth)
            finally:
                whole.length = body.offset - whole.offset
        for sub in _objects(body, description, "subsections", path):
            self._subsection(group, sub, path, depth)

    def _arrays(self, fields: Sequence[Pairs]) -> Iterator[tuple[str, list[Pairs]]]:
        """Yield each name with its field, or, for an array described in pieces, all of them."""
        pieces: list[Pairs] = []
        for field in fields:
            name = _text(field, "name")
            if pieces and name != _text(pieces[0], "name"):
                yield _text(pieces[0], "name"), pieces
                pieces = []
            pieces.append(field)
        if pieces:
            yield _text(pieces[0], "name"), pieces

    def _piece(self, whole: Group, field: Pairs, path: str, depth: int) -> None:
        """Decode one piece of an array: an element, or several alike."""
        first = len(whole.children)
        index = field.first("index")
        if index is not None and index != first:
            raise self._body.wrong(
                self._body.offset, path, expected=f"index {first}", found=f"index {index!r}"
            )
        size, count = self._size(field, path)
        for at in range(first, first + (1 if count is None else count)):
            self._one(whole, f"[{at}]", field, size, f"{path}[{at}]", depth)

    def _field(self, group: Group, name: str, field: Pairs, path: str, depth: int) -> None:
        size, count = self._size(field, path)
        kind = _text(field, "type")
        if count is None:
            self._one(group, name, field, size, path, depth)
            return
        if kinds.integer_of(kind, size) is not None or kind == kinds.BOOL:
            self._numbers(group, name, kind, size, count, path)
            return
        whole = self._group(group, name, kind, ARRAY)
        try:
            for at in range(count):
                self._one(whole, f"[{at}]", field, size, f"{path}[{at}]", depth)
        finally:
            whole.length = self._body.offset - whole.offset

    def _size(self, field: Pairs, path: str) -> tuple[int, int | None]:
        """Return the bytes of one element and their number, None where it is no array."""
        body = self._body
        size, count = field.first("size"), field.first("array_len")
        for key, value in (("size", size), ("array_len", 0 if count is None else count)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise body.wrong(
                    body.offset,
                    path,
                    expected=f"a description with a number as its {key}",
                    found=repr(value)[:40],
                )
        times = 1 if count is None else count
        body.need(size * times, path)
        number = kinds.integer_of(_text(field, "type"), size)
        if times > MAX_DEVICE_FIELDS and number is None:
            raise self._too_many(path, "fields", MAX_DEVICE_FIELDS)
        return size, count

    def _numbers(
        self, group: Group, name: str, kind: str, size: int, count: int, path: str
    ) -> None:
        body, start = self._body, self._body.offset
        self._count_field(path)
        integer = kinds.integer_of(kind, size) or kinds.IntegerKind(1)
        if count:
            self._check_size(path, kind, integer.length, size)
        if size * count > MAX_DEVICE_NUMBERS_LEN:
            raise self._too_many(path, "bytes of numbers", MAX_DEVICE_NUMBERS_LEN)
        data = body.take(size * count, path)
        values: Sequence[int] = data
        if integer.length > 1 or integer.signed:
            values = array(kinds.ARRAY_CODES[integer], data)
            if sys.byteorder == "little":
                values.byteswap()
        if not count:
            values = b""
        group.children.append(Numbers(name, kind, start, len(data), values))

    def _one(self, group: Group, name: str, field: Pairs, size: int, path: str, depth: int) -> None:
        """Decode one element of a field, all of whose bytes are there."""
        body, start = self._body, self._body.offset
        kind = _text(field, "type")
        nested = field.first("struct")
        if kind in (kinds.QTAILQ, kinds.QLIST, kinds.GTREE):
            self._list(group, name, field, path, depth)
        elif isinstance(nested, Pairs):
            self._nested(group, name, nested, path, depth)
        elif field.first("fields") is not None:
            self._nested(group, name, field, path, depth)
        elif kind in DECODERS:
            whole = self._group(group, name, kind, STRUCT)
            DECODERS[kind](body, whole, size, path)
            whole.length = body.offset - start
        else:
            self._count_field(path)
            group.children.append(self._leaf(name, kind, size, path))
        used = body.offset - start
        if used != size:
            raise body.wrong(
                start,
                path,
                expected=f"{size} bytes, by its description",
                found=f"{used} bytes in its parts",
            )

    def _nested(self, group: Group, name: str, layout: Pairs, path: str, depth: int) -> None:
        struct = self._group(group, name, _text(layout, "vmsd_name"), STRUCT)
        struct.version = _count(layout, "version")
        try:
            self.layout(struct, layout, path, depth + 1)
        finally:
            struct.length = self._body.offset - struct.offset

    def _leaf(self, name: str, kind: str, size: int, path: str) -> Field:
        body, start = self._body, self._body.offset
        integer = kinds.integer_of(kind, size)
        if integer is not None:
            self._check_size(path, kind, integer.length, size)
            value = int.from_bytes(body.take(size, path), "big", signed=integer.signed)
            return Field(name, kind, start, size, value)
        if kind == kinds.BOOL:
            self._check_size(path, kind, 1, size)
            return Field(name, kind, start, size, body.take(size, path) != b"\0")
        if kind == kinds.NULLPTR:
            self._check_size(path, kind, 1, size)
            mark = body.take(1, path)[0]
            if mark != kinds.NULLPTR_MARK:
                raise body.wrong(
                    start, path, expected=f"0x{kinds.NULLPTR_MARK:x}", found=f"0x{mark:02x}"
                )
            return Field(name, kind, start, size, None)
        return Field(name, kind, start, size, body.blob(size, path))

    def _list(self, group: Group, name: str, field: Pairs, path: str, depth: int) -> None:
        """Decode a qtailq, qlist or gtree: a mark before each element and one behind the last."""
        body = self._body
        kind = _text(field, "type")
        whole = self._group(group, name, kind, LIST)
        try:
            count = None
            if kind == kinds.GTREE:
                count = int.from_bytes(body.take(4, path), "big")
                whole.marks_len += 4
            layouts = list(_elements(field))
            step = 1
            if kind == kinds.GTREE and count:
                # With direct keys only the values are described (get_gtree, put_gtree).
                step = 2 if len(layouts) == 2 * count else 1
            for at in range(0, len(layouts), step):
                self._mark(whole, kinds.ELEMENT_MARK, path)
                element = f"[{at // step}]"
                if kind == kinds.GTREE and step == 1:
                    key = self._group(whole, element, kind, STRUCT)
                    key.children.append(self._leaf("key", "uint64", 8, f"{path}{element}.key"))
                    self._nested(key, "value", layouts[at], f"{path}{element}.value", depth)
                    key.length = body.offset - key.offset
                elif step == 1:
                    self._nested(whole, element, layouts[at], f"{path}{element}", depth)
                else:
                    pair = self._group(whole, element, kind, STRUCT)
                    for part, layout in zip(("key", "value"), layouts[at : at + 2], strict=True):
                        self._nested(pair, part, layout, f"{path}{element}.{part}", depth)
                    pair.length = body.offset - pair.offset
            self._mark(whole, kinds.END_MARK, path)
        finally:
            whole.length = body.offset - whole.offset

    def _mark(self, whole: Group, expected: int, path: str) -> None:
        body, start = self._body, self._body.offset
        found = body.take(1, path)[0]
        if found != expected:
            what = "an element" if expected == kinds.ELEMENT_MARK else "the end of the list"
            raise body.wrong(
                start,
                path,
                expected=f"0x{expected:02x} for {what}, by the description",
                found=f"0x{found:02x}",
            )
        whole.marks_len += 1

    def _subsection(self, group: Group, layout: Pairs, path: str, depth: int) -> None:
        body, start = self._body, self._body.offset
        name = _text(layout, "vmsd_name")
        at = f"{path}.{name}" if path else name
        head = read_record(body, SubsectionHead, what=f"subsection {name}")
        if head.name != name.encode():
            raise body.wrong(
                start,
                at,
                expected=f"subsection {name!r}, by the description",
                found=f"subsection {head.name.decode('utf-8', 'backslashreplace')!r}",
            )
        sub = self._group(group, name, name, SUBSECTION, offset=start)
        sub.version = head.version_id
        sub.marks_len = body.offset - start
        try:
            self.layout(sub, layout, at, depth + 1)
        finally:
            sub.length = body.offset - start

    def _group(
        self, parent: Group, name: str, kind: str, form: str, *, offset: int | None = None
    ) -> Group:
        self._count_field(name)
        group = Group(name, kind, form, self._body.offset if offset is None else offset)
        parent.children.append(group)
        return group

    def _count_field(self, path: str) -> None:
        self._fields += 1
        if self._fields > MAX_DEVICE_FIELDS:
            raise self._too_many(path, "fields", MAX_DEVICE_FIELDS)

    def _check_size(self, path: str, kind: str, expected: int, size: int) -> None:
        if size != expected:
            raise self._body.wrong(
                self._body.offset,
                path,
                expected=f"{expected} bytes for {kind}",
                found=f"{size} by its description",
            )

    def _too_many(self, path: str, things: str, most: int) -> StreamError:
        return LimitExceededError(
            path=self._body.name,
            offset=self._body.offset,
            record=self._body.device,
            field=path,
            expected=f"a description of at most {most} {things}",
            found="more",
        )


def _text(pairs: Pairs, key: str) -> str:
    value = pairs.first(key)
    return value if isinstance(value, str) else ""


def _count(pairs: Pairs, key: str) -> int | None:
    value = pairs.first(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _objects(body: Body, pairs: Pairs, key: str, path: str) -> list[Pairs]:
    """Return a list of objects; empty where the key is not there."""
    value: Any = pairs.first(key)
    if value is None:
        return []
    if not isinstance(value, list) or isinstance(value, Pairs):
        raise body.wrong(
            body.offset, path, expected=f"a description with a list of {key}", found="none"
        )
    for entry in value:
        if not isinstance(entry, Pairs):
            raise body.wrong(
                body.offset, path, expected=f"a description of {key}", found=repr(entry)[:40]
            )
    return value


def _elements(field: Pairs) -> Iterator[Pairs]:
    """Yield the layouts that a list's field has inline: each begins with its `vmsd_name`."""
    layout: Pairs | None = None
    for key, value in field:
        if key == "vmsd_name":
            if layout is not None:
                yield layout
            layout = Pairs()
        if layout is not None and key != "size":
            layout.append((key, value))
    if layout is not None:
        yield layout
