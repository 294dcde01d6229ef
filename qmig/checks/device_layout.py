"""A device's description against itself, and against the bytes of its section."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from qmig.limits import MAX_DEVICE_NESTING
from qmig.wire.framing import QemuVmSection
from qmig.wire.vmdesc import Pairs, device_body_len

if TYPE_CHECKING:
    from collections.abc import Iterator

_SUBSECTION_HEAD_LEN: Final = 1 + 1 + 4  # mark, length of the name, version
# Bytes of what has one length (migration/vmstate-types.c).
_LEN_OF_TYPE: Final = {
    "bool": 1,
    "int8": 1,
    "int16": 2,
    "int32": 4,
    "int64": 8,
    "uint8": 1,
    "uint16": 2,
    "uint32": 4,
    "uint64": 8,
    "int32 equal": 4,
    "uint8 equal": 1,
    "uint16 equal": 2,
    "uint32 equal": 4,
    "int64 equal": 8,
    "int32 le": 4,
    "timer": 8,
    "CPU_Double_U": 8,
    "nullptr": 1,
}


class Mismatch(NamedTuple):
    """Where something other stands than is described.

    Attributes:
        at: offset in the body; in a description: 0.
        length: bytes of it.
        what: the field or subsection.
        expected: what is described.
        found: what stands there.
        foreign: whether a subsection's name does not begin with that of what it belongs to.
    """

    at: int
    length: int
    what: str
    expected: str
    found: str
    foreign: bool = False


def contradictions(body: Pairs) -> Iterator[Mismatch]:
    """Yield where sizes in a description do not fit each other.

    Args:
        body: the description of a device.
    """
    yield from _contradictions(body, 0)


def _contradictions(body: Pairs, depth: int) -> Iterator[Mismatch]:
    if depth > MAX_DEVICE_NESTING:
        yield Mismatch(0, 0, "a struct", f"at most {MAX_DEVICE_NESTING} in one another", "more")
        return
    for field in _objects(body, "fields"):
        name, size, kind = str(field.first("name")), field.first("size"), field.first("type")
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            yield Mismatch(0, 0, f"field {name}", "a size", repr(size))
            continue
        wanted = _LEN_OF_TYPE.get(kind) if isinstance(kind, str) else None
        if wanted is not None and size != wanted:
            yield Mismatch(0, 0, f"field {name}", f"size {wanted} of {kind}", str(size))
        inner = field.first("struct")
        if isinstance(inner, Pairs) and kind == "struct":
            inner_len = device_body_len(inner)
            if inner_len is not None and inner_len != size:
                yield Mismatch(0, 0, f"field {name}", f"size {inner_len} of its parts", str(size))
            yield from _contradictions(inner, depth + 1)
    for sub in _objects(body, "subsections"):
        if not isinstance(sub.first("vmsd_name"), str):
            yield Mismatch(0, 0, "a subsection", "a vmsd_name", repr(sub.first("vmsd_name")))
        yield from _contradictions(sub, depth + 1)


def differences(body: Pairs, data: bytes) -> Iterator[Mismatch]:
    """Yield where a section's subsections are not those of its description.

    Args:
        body: the description of a device, which does not contradict itself and whose lengths add
            up to that of the data.
        data: the section's body.
    """
    yield from _differences(body, data, 0)


def _differences(body: Pairs, data: bytes, at: int) -> Iterator[Mismatch]:
    for field in _objects(body, "fields"):
        size, count = field.first("size"), field.first("array_len", 1)
        if not (isinstance(size, int) and isinstance(count, int)):
            return
        inner = field.first("struct")
        if isinstance(inner, Pairs) and device_body_len(inner) == size and count:
            yield from _differences(inner, data, at)
        at += size * count
    parent = body.first("vmsd_name")
    for sub in _objects(body, "subsections"):
        name, length = sub.first("vmsd_name"), device_body_len(sub)
        if not isinstance(name, str) or length is None:
            return
        raw = name.encode("utf-8", "surrogatepass")
        head_len = _SUBSECTION_HEAD_LEN + len(raw)
        yield from _head_differences(sub, raw, data[at : at + head_len], at, str(parent))
        yield from _differences(sub, data, at + head_len)
        at += head_len + length


def _head_differences(
    sub: Pairs, name: bytes, head: bytes, at: int, parent: str
) -> Iterator[Mismatch]:
    """Compare the head of a subsection with its description."""
    what = f"subsection {name.decode('utf-8', 'replace')}"
    mark = bytes([QemuVmSection.SUBSECTION, len(name) & 0xFF])
    prefix = parent.encode("utf-8", "surrogatepass")
    if head[:2] != mark:
        yield Mismatch(at, len(head), what, mark.hex(" "), head[:2].hex(" "))
        return
    found = head[2:-4]
    if not found.startswith(prefix):
        yield Mismatch(at, len(head), what, f"a name in {parent}/", repr(found), foreign=True)
    elif found != name:
        yield Mismatch(at, len(head), what, repr(name), repr(found))
    version, described = int.from_bytes(head[-4:], "big"), sub.first("version")
    if isinstance(described, int) and version != described:
        yield Mismatch(at, len(head), what, f"version {described}", str(version))


def _objects(body: Pairs, key: str) -> Iterator[Pairs]:
    for name, value in body:
        if name == key and isinstance(value, list) and not isinstance(value, Pairs):
            yield from (item for item in value if isinstance(item, Pairs))


def described_version(device: Pairs) -> int | None:
    """Return the version that a device's description tells; an old-style handler has none."""
    version: Any = device.first("version")
    return version if isinstance(version, int) and not isinstance(version, bool) else None
