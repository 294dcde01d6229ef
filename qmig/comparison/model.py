"""What a comparison finds, as data. A and B are the two captures, in the order they were given."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from qmig.errors import QmigError

Value = int | bool | bytes | str | None
"""What stands in a field; text is a word about it (`NULL`, a layout), None is nothing."""


class Outcome(Enum):
    """Whether two captures are equal, as far as it can be told."""

    EQUAL = "equal"
    DIFFERENT = "different"
    UNKNOWN = "unknown"  # nothing differs that could be compared, and not all could


class Side(Enum):
    """One of the two captures."""

    A = "a"
    B = "b"


class What(Enum):
    """In what a field differs."""

    VALUE = "value"
    BYTES = "bytes"
    COUNT = "count"  # how many elements an array has
    LAYOUT = "layout"  # a field of another form stands there
    ONLY = "only"  # one of the two has it


class PageState(Enum):
    """What is known of a page of both captures."""

    EQUAL = "equal"
    DIFFERS = "differs"
    NOT_IN_A = "not in a"
    NOT_IN_B = "not in b"
    IN_NEITHER = "in neither"
    UNREAD = "unread"  # what should hold it is damaged


class FieldDifference(NamedTuple):
    """A field that differs.

    Attributes:
        path: of the field, as `qmig devices` takes it.
        kind: its type, as the description calls it.
        what: in what it differs.
        a: what A has; of many bytes those from `first` on; None: it has no such field.
        b: what B has.
        first: of bytes: the first one that differs.
        differing_len: of bytes: how many differ, those that one alone has counted.
    """

    path: str
    kind: str
    what: What
    a: Value
    b: Value
    first: int = 0
    differing_len: int = 0


class FactDifference(NamedTuple):
    """A register, address or time that differs, under the name that people use."""

    name: str
    a: object
    b: object


class OnlySection(NamedTuple):
    """A section that one capture alone has.

    Attributes:
        side: which one.
        name: idstr.
        instance_id: instance.
        version_id: version.
        length: bytes with head and footer.
        certain: whether the other capture is whole, so that it has none.
    """

    side: Side
    name: str
    instance_id: int
    version_id: int
    length: int
    certain: bool

    @property
    def path(self) -> str:
        """Name and instance: `cpu/0`."""
        return f"{self.name}/{self.instance_id}"


@dataclass
class SectionDifference:
    """A section that both have, and that differs.

    Attributes:
        name: idstr.
        instance_id: instance.
        versions: of A and B.
        fields: what differs in it; at most `qmig.limits.MAX_FIELD_DIFFERENCES`.
        fields_left_out: how many more fields differ.
        fields_ignored: how many fields differ that were to be ignored.
        facts: what that means, by name.
        undecoded: why bytes were compared and not fields; None where it was decoded.
    """

    name: str
    instance_id: int
    versions: tuple[int, int]
    fields: list[FieldDifference] = field(default_factory=list)
    fields_left_out: int = 0
    fields_ignored: int = 0
    facts: list[FactDifference] = field(default_factory=list)
    undecoded: str | None = None

    @property
    def path(self) -> str:
        """Name and instance: `cpu/0`."""
        return f"{self.name}/{self.instance_id}"

    @property
    def differs(self) -> bool:
        """Whether there is a difference that is not ignored."""
        return bool(self.fields or self.versions[0] != self.versions[1])


class PageRange(NamedTuple):
    """Pages behind one another of which the same is known."""

    state: PageState
    addr: int
    length: int


@dataclass
class BlockComparison:
    """What is known of a RAM block.

    Attributes:
        name: of the block.
        lengths: bytes in A and B; None where one has no such block.
        page_size_len: bytes of a page, the smaller one where they differ.
        pages: how many pages there are of each state, of what both blocks cover.
        ranges: pages that are not equal; at most `qmig.limits.MAX_DIFFERING_RANGES`.
        ranges_left_out: how many more ranges there are.
        certain: whether the capture that has no such block is whole.
        ignored: whether it was to be ignored, and so was not looked at.
        error: what kept it from being read to its end.
    """

    name: str
    lengths: tuple[int | None, int | None]
    page_size_len: int
    pages: dict[PageState, int] = field(default_factory=lambda: dict.fromkeys(PageState, 0))
    ranges: list[PageRange] = field(default_factory=list)
    ranges_left_out: int = 0
    certain: bool = True
    ignored: bool = False
    error: QmigError | None = None

    @property
    def differs(self) -> bool:
        """Whether something of it is known to differ."""
        if self.ignored:
            return False
        if None in self.lengths:
            return self.certain
        return self.lengths[0] != self.lengths[1] or self.pages[PageState.DIFFERS] > 0

    @property
    def unknown_pages(self) -> int:
        """Pages of which it cannot be told whether they are equal."""
        known = (PageState.EQUAL, PageState.DIFFERS)
        return sum(count for state, count in self.pages.items() if state not in known)


@dataclass
class Comparison:
    """What differs between captures A and B.

    Attributes:
        configuration: differences of machine type, page size and UUID.
        configuration_ignored: how many of them were to be ignored.
        sections_in_both: how many sections both have.
        only: sections that one has.
        only_ignored: how many of those were to be ignored.
        sections: sections of both that differ, those with ignored differences alone as well.
        blocks: all RAM blocks.
        ram_unknown: why no RAM was compared; None where it was.
        accept_missing: whether pages that neither has count as equal.
        errors: what kept A and B from being read to their ends.
        salvaged: whether A and B are what was salvaged of damaged captures.
    """

    configuration: list[FieldDifference] = field(default_factory=list)
    configuration_ignored: int = 0
    sections_in_both: int = 0
    only: list[OnlySection] = field(default_factory=list)
    only_ignored: int = 0
    sections: list[SectionDifference] = field(default_factory=list)
    blocks: list[BlockComparison] = field(default_factory=list)
    ram_unknown: QmigError | None = None
    accept_missing: bool = False
    errors: tuple[list[QmigError], list[QmigError]] = field(default_factory=lambda: ([], []))
    salvaged: tuple[bool, bool] = (False, False)

    @property
    def outcome(self) -> Outcome:
        """Whether A and B are equal. A difference that is certain outweighs what is unknown."""
        differs = (
            bool(self.configuration)
            or any(row.certain for row in self.only)
            or any(section.differs for section in self.sections)
            or any(block.differs for block in self.blocks)
        )
        if differs:
            return Outcome.DIFFERENT
        unknown = (
            any(self.errors)
            or any(self.salvaged)
            or self.ram_unknown is not None
            or any(self._unknown_pages(block) for block in self.blocks)
        )
        return Outcome.UNKNOWN if unknown else Outcome.EQUAL

    @property
    def equal(self) -> bool:
        """Whether they are known to be equal in everything that was compared."""
        return self.outcome is Outcome.EQUAL

    def _unknown_pages(self, block: BlockComparison) -> int:
        accepted = block.pages[PageState.IN_NEITHER] if self.accept_missing else 0
        return block.unknown_pages - accepted
