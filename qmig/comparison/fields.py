"""Two device states against each other, field by field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qmig.comparison.model import FactDifference, FieldDifference, What
from qmig.devices.facts import facts_of, flat_facts
from qmig.devices.tree import Blob, Field, Group, Node, Numbers
from qmig.limits import MAX_FIELD_DIFFERENCES, MIB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from qmig.comparison.ignoring import Ignored
    from qmig.comparison.model import SectionDifference, Value
    from qmig.devices.devices import Device

    Read = Callable[[int, int], bytes]

NOT_DECODED: Final = "not decoded"
_SHOWN_LEN: Final = 16
_SINGLE_BYTES_LEN: Final = 4096  # whose bytes can be ignored one by one
_MOST_FACTS: Final = 200
_NULL: Final = "NULL"


class FieldComparer:
    """Compares the fields of one device in two captures.

    Args:
        a: the device in A.
        b: the device in B.
        ignored: what is left out.
        found: takes the differences.
    """

    def __init__(self, a: Device, b: Device, ignored: Ignored, found: SectionDifference) -> None:
        self._a = a
        self._b = b
        self._ignored = ignored
        self._found = found

    def compare(self) -> None:
        """Compare bytes, and where they differ the fields that are made of them."""
        a, b = self._a, self._b
        first, count = differing_bytes(a.read, a.length, b.read, b.length)
        if not count:
            return
        self._found.undecoded = _undecoded(a, b)
        if self._found.undecoded is None:
            self._groups(a.tree, b.tree, f"{self._found.path}/")
            if self._found.fields:
                self._found.facts = list(self._fact_differences())
        if not self._found.fields and not self._found.fields_ignored:
            # Also bytes between fields, as the order of subsections.
            self._add(_of_bytes(self._found.path, NOT_DECODED, a.read, b.read, first, count))

    def _groups(self, a: Group, b: Group, path: str) -> None:
        mine, theirs = _by_name(a.children), _by_name(b.children)
        for key in [*mine, *(key for key in theirs if key not in mine)]:
            at = path + key[0] if path[-1] == "/" or key[0][:1] == "[" else f"{path}.{key[0]}"
            self._nodes(mine.get(key), theirs.get(key), at)

    def _nodes(self, a: Node | None, b: Node | None, path: str) -> None:
        if a is None or b is None:
            kind = (a or b).kind  # type: ignore[union-attr]  # one of them is there
            self._add(FieldDifference(path, kind, What.ONLY, _whole(a), _whole(b)))
        elif isinstance(a, Group) and isinstance(b, Group):
            self._groups(a, b, path)
        elif isinstance(a, Numbers) and isinstance(b, Numbers):
            self._numbers(a, b, path)
        elif isinstance(a, Field) and isinstance(b, Field):
            self._fields(a, b, path)
        else:
            self._add(FieldDifference(path, a.kind, What.LAYOUT, _layout(a), _layout(b)))

    def _numbers(self, a: Numbers, b: Numbers, path: str) -> None:
        if len(a.values) != len(b.values):
            count = FieldDifference(path, a.kind, What.COUNT, len(a.values), len(b.values))
            self._add(count)
        if a.values == b.values:
            return
        for at, (mine, theirs) in enumerate(zip(a.values, b.values, strict=False)):
            if mine != theirs:
                self._add(FieldDifference(f"{path}[{at}]", a.kind, What.VALUE, mine, theirs))

    def _fields(self, a: Field, b: Field, path: str) -> None:
        if isinstance(a.value, bytes | Blob) and isinstance(b.value, bytes | Blob):
            read_a, read_b = _reader(self._a, a), _reader(self._b, b)
            first, count = differing_bytes(read_a, a.length, read_b, b.length)
            if count and a.length == b.length <= _SINGLE_BYTES_LEN:
                first, count = self._counted(read_a(0, a.length), read_b(0, b.length), path)
            if count:
                self._add(_of_bytes(path, a.kind, read_a, read_b, first, count))
        elif isinstance(a.value, bytes | Blob) or isinstance(b.value, bytes | Blob):
            self._add(FieldDifference(path, a.kind, What.LAYOUT, _layout(a), _layout(b)))
        elif a.value != b.value:
            self._add(FieldDifference(path, a.kind, What.VALUE, _simple(a), _simple(b)))

    def _counted(self, a: bytes, b: bytes, path: str) -> tuple[int, int]:
        """Return the first byte that differs and is not ignored by its index, and how many do."""
        pairs = enumerate(zip(a, b, strict=False))
        differing = [at for at, (mine, theirs) in pairs if mine != theirs]
        kept = [at for at in differing if not self._ignored.path(f"{path}[{at}]")]
        self._found.fields_ignored += bool(differing and not kept)
        return (kept[0] if kept else 0), len(kept)

    def _add(self, difference: FieldDifference) -> None:
        found = self._found
        if self._ignored.field(difference.path, difference.kind):
            found.fields_ignored += 1
        elif len(found.fields) < MAX_FIELD_DIFFERENCES:
            found.fields.append(difference)
        else:
            found.fields_left_out += 1

    def _fact_differences(self) -> Iterator[FactDifference]:
        (_, mine), (_, theirs) = facts_of(self._a), facts_of(self._b)
        told = {(_simple_value(one.a), _simple_value(one.b)) for one in self._found.fields}
        for fact in fact_differences(mine, theirs):
            # Where something is ignored, what is made of it is known by its values alone.
            if not self._found.fields_ignored or (fact.a, fact.b) in told:
                yield fact


def _simple_value(value: Value) -> Value:
    return value if isinstance(value, int) else None


def fact_differences(a: dict[str, Any], b: dict[str, Any]) -> Iterator[FactDifference]:
    """Yield what differs between two objects of facts, by the path of each value."""
    mine, theirs = dict(flat_facts(a)), dict(flat_facts(b))
    names = [*mine, *(name for name in theirs if name not in mine)]
    differing = [name for name in names if mine.get(name) != theirs.get(name)]
    for name in differing[:_MOST_FACTS]:
        yield FactDifference(name, mine.get(name), theirs.get(name))


def differing_bytes(read_a: Read, a_len: int, read_b: Read, b_len: int) -> tuple[int, int]:
    """Compare bytes, some at a time.

    Args:
        read_a: gives bytes of A from an offset on, at most so many.
        a_len: how many A has.
        read_b: the same of B.
        b_len: how many B has.

    Returns:
        The first byte that differs, and how many do, those that one alone has counted.
    """
    common, first, count = min(a_len, b_len), -1, abs(a_len - b_len)
    for at in range(0, common, MIB):
        length = min(MIB, common - at)
        a, b = read_a(at, length), read_b(at, length)
        if a == b:
            continue
        short = min(len(a), len(b))
        differ = np.frombuffer(a, np.uint8, short) != np.frombuffer(b, np.uint8, short)
        count += int(np.count_nonzero(differ)) + abs(len(a) - len(b))
        if first < 0:
            first = at + (int(np.argmax(differ)) if differ.any() else short)
    return (first if first >= 0 else common), count


def _of_bytes(
    path: str, kind: str, read_a: Read, read_b: Read, first: int, count: int
) -> FieldDifference:
    a, b = read_a(first, _SHOWN_LEN), read_b(first, _SHOWN_LEN)
    return FieldDifference(path, kind, What.BYTES, a, b, first, count)


def _reader(device: Device, field: Field) -> Read:
    base = field.offset - device.offset

    def read(first: int, length: int) -> bytes:
        return device.read(base + first, min(length, max(0, field.length - first)))

    return read


def _undecoded(a: Device, b: Device) -> str | None:
    """Return why the fields of two devices cannot be compared."""
    for letter, device in (("A", a), ("B", b)):
        if device.error is not None:
            return f"in {letter} its description does not fit its bytes"
        if device.undescribed is not None:
            return f"in {letter} {device.undescribed}"
    return None


def _by_name(nodes: Iterable[Node]) -> dict[tuple[str, int], Node]:
    """Return nodes by name; of those with the same name, by their order."""
    found: dict[tuple[str, int], Node] = {}
    counts: dict[str, int] = {}
    for node in nodes:
        nth = counts.get(node.name, 0)
        counts[node.name] = nth + 1
        found[node.name, nth] = node
    return found


def _simple(field: Field) -> Value:
    if field.value is None:
        return _NULL
    return field.value if isinstance(field.value, int | bytes) else _layout(field)


def _whole(node: Node | None) -> Value:
    if node is None:
        return None
    if isinstance(node, Field) and not isinstance(node.value, bytes | Blob):
        return _simple(node)
    return _layout(node)


def _layout(node: Node) -> str:
    form = node.form if isinstance(node, Group) else node.kind
    return f"{form} of {node.length} byte{'' if node.length == 1 else 's'}"
