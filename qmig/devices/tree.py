"""What a device's state is decoded into: a tree whose leaves tile the bytes of its section.

Paths name a node: names of structs and fields joined by `.`, elements of arrays and lists by
`[i]`, as in `env.regs[0]` or `parent_obj.config[0].bar`. QEMU's own names hold dots, slashes and
brackets, so a path is resolved against the names that are there, and `/` is taken for `.`, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qmig.capture.source import Source

SUBSECTION: Final = "subsection"
STRUCT: Final = "struct"
ARRAY: Final = "array"
LIST: Final = "list"
DERIVED: Final = "decoded"
"""The form of a group whose bytes QEMU describes as one field, and qmig takes apart."""


class Blob:
    """Bytes that are read when they are asked for.

    Args:
        source: where they are.
        offset: the first one.
        length: how many.
    """

    __slots__ = ("_source", "length", "offset")

    def __init__(self, source: Source, offset: int, length: int) -> None:
        self._source = source
        self.offset = offset
        self.length = length

    def read(self, most: int | None = None) -> bytes:
        """Return the bytes, or the first `most` of them."""
        wanted = self.length if most is None else min(most, self.length)
        return self._source.read_at(self.offset, wanted)


Value = int | bool | bytes | Blob | None


class Field:
    """A leaf: one value.

    Attributes:
        name: QEMU's name of it.
        kind: its type, as the description calls it.
        offset: its first byte in the stream's source.
        length: its bytes.
        value: what stands there; None for a NULL pointer.
    """

    __slots__ = ("kind", "length", "name", "offset", "value")

    def __init__(self, name: str, kind: str, offset: int, length: int, value: Value) -> None:
        self.name = name
        self.kind = kind
        self.offset = offset
        self.length = length
        self.value = value

    def __repr__(self) -> str:
        return f"Field({self.name!r}, {self.kind!r}, 0x{self.offset:x}, {self.length})"


class Numbers:
    """A leaf: an array of integers or booleans of one size.

    Attributes:
        name: QEMU's name of it.
        kind: the type of an element.
        offset: its first byte in the stream's source.
        length: bytes of all elements.
        values: the elements.
    """

    __slots__ = ("kind", "length", "name", "offset", "values")

    def __init__(
        self, name: str, kind: str, offset: int, length: int, values: Sequence[int]
    ) -> None:
        self.name = name
        self.kind = kind
        self.offset = offset
        self.length = length
        self.values = values

    @property
    def item_len(self) -> int:
        """Bytes of one element."""
        return self.length // len(self.values) if self.values else 0

    def element(self, index: int) -> Field:
        """Return one element as a field of its own."""
        step = self.item_len
        value = self.values[index]
        name, offset = f"{self.name}[{index}]", self.offset + index * step
        return Field(name, self.kind, offset, step, bool(value) if self.kind == "bool" else value)

    def __repr__(self) -> str:
        return f"Numbers({self.name!r}, {self.kind!r}, 0x{self.offset:x}, {len(self.values)})"


class Group:
    """A struct, a subsection, or the elements of an array or list.

    Attributes:
        name: QEMU's name of it.
        kind: its type, as the description calls it; for structs the name of their layout.
        form: STRUCT, SUBSECTION, ARRAY, LIST or DERIVED.
        offset: its first byte in the stream's source, the head of a subsection counted.
        length: its bytes, heads and marks of lists counted.
        children: what it is made of; elements have the names `[0]`, `[1]`.
        version: of its layout, where it has one.
        marks_len: bytes that belong to no child: heads, marks between the elements of a list.
    """

    __slots__ = ("children", "form", "kind", "length", "marks_len", "name", "offset", "version")

    def __init__(
        self, name: str, kind: str, form: str, offset: int, *, version: int | None = None
    ) -> None:
        self.name = name
        self.kind = kind
        self.form = form
        self.offset = offset
        self.length = 0
        self.children: list[Node] = []
        self.version = version
        self.marks_len = 0

    def __repr__(self) -> str:
        return f"Group({self.name!r}, {self.form}, 0x{self.offset:x}, {self.children!r})"


Node = Field | Numbers | Group


def resolve(group: Group, path: str) -> Node | None:
    """Return the node that a path names below a group; None where there is none.

    Args:
        group: where to begin.
        path: as the module's text says; "" names the group itself.
    """
    if not path:
        return group
    candidates = [child for child in group.children if path.startswith(child.name)]
    for child in sorted(candidates, key=lambda child: -len(child.name)):
        rest = path[len(child.name) :]
        if not rest:
            return child
        if rest[0] in "./":
            rest = rest[1:]
        elif rest[0] != "[" and not child.name.endswith(("/", ".")):
            continue
        found = _below(child, rest)
        if found is not None:
            return found
    return None


def _below(node: Node, path: str) -> Node | None:
    if isinstance(node, Group):
        return resolve(node, path)
    if isinstance(node, Numbers) and path.startswith("[") and path.endswith("]"):
        digits = path[1:-1]
        if digits.isascii() and digits.isdigit() and int(digits) < len(node.values):
            return node.element(int(digits))
    return None


def leaves(node: Node) -> Iterator[Field | Numbers]:
    """Yield the leaves below a node, in the order of their bytes."""
    if isinstance(node, Group):
        for child in node.children:
            yield from leaves(child)
    else:
        yield node


def counted_len(node: Node) -> int:
    """Return the bytes that leaves and marks account for below a node."""
    if isinstance(node, Group):
        return node.marks_len + sum(counted_len(child) for child in node.children)
    return node.length


def settle(node: Node) -> int:
    """Set the lengths of groups to what is in them; return that of the node."""
    if isinstance(node, Group):
        node.length = node.marks_len + sum(settle(child) for child in node.children)
    return node.length


def number(group: Group, path: str) -> int | None:
    """Return the integer at a path; None where there is none."""
    node = resolve(group, path)
    value = node.value if isinstance(node, Field) else None
    return value if isinstance(value, int) else None


def numbers(group: Group, path: str) -> Sequence[int]:
    """Return the integers of an array at a path; empty where there is none."""
    node = resolve(group, path)
    return node.values if isinstance(node, Numbers) else ()
