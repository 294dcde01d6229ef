"""What a rescue found: known pages, sections, what is missing and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from qmig.capture.page_size import DEFAULT_PAGE_SIZE_LEN
from qmig.capture.ram_view import Ram
from qmig.closing import Closing

if TYPE_CHECKING:
    from qmig.capture.container import Container
    from qmig.capture.rescue_blocks import PageMap, RescuedView
    from qmig.capture.rescue_sections import FoundElement
    from qmig.capture.sections import Configuration
    from qmig.capture.source import Source
    from qmig.errors import QmigError
    from qmig.wire.vmdesc import VmDescription


class MissingDevice(NamedTuple):
    """A FULL section that is lost."""

    name: str
    instance_id: int


class Description(NamedTuple):
    """A vmdescription and its text."""

    text: bytes
    parsed: VmDescription


@dataclass
class Rescue(Closing):
    """What was found; use it as a context manager, or call `close`.

    Attributes:
        containers: the files that could be opened.
        main: the file with the main stream.
        configuration: the configuration section, None where there is none.
        footers: whether sections have footers.
        page_size_len: bytes of a target page.
        blocks: the blocks, with what is known of them.
        maps: which pages of each block are known.
        lost_ram_len: bytes of RAM in blocks whose entries are lost.
        elements: sections and commands in their order, those that are not whole as well.
        source: where the elements of the main stream are.
        description: the vmdescription, None where it is lost or there is none.
        missing: the devices that the vmdescription lists and that are not whole.
        missing_listed: whether `missing` is all that is missing of the devices.
        damage: what is wrong with the files, in order.
        versions_may_be_old: whether later versions of pages may be lost.
        eof: whether the end of the elements was found.
        damage_mended: what is wrong and concerns no part of the guest: the output does not have it.
        reasons: why the guest is not whole, as far as `damage` does not tell.
    """

    containers: list[Container]
    main: Container
    configuration: Configuration | None = None
    footers: bool = True
    page_size_len: int = DEFAULT_PAGE_SIZE_LEN
    blocks: list[RescuedView] = field(default_factory=list)
    maps: list[PageMap] = field(default_factory=list)
    lost_ram_len: int = 0
    elements: list[tuple[FoundElement, Source]] = field(default_factory=list)
    description: Description | None = None
    missing: list[MissingDevice] = field(default_factory=list)
    missing_listed: bool = True
    damage: list[QmigError] = field(default_factory=list)
    damage_mended: list[QmigError] = field(default_factory=list)
    versions_may_be_old: bool = False
    eof: bool = False
    reasons: list[str] = field(default_factory=list)
    opened: list[Source] = field(default_factory=list)

    @property
    def guest_whole(self) -> bool:
        """Whether all of the guest was there."""
        return not (self.damage or self.reasons or self.missing) and self.eof

    @property
    def whole(self) -> bool:
        """Whether everything was there."""
        return self.guest_whole and not self.damage_mended

    @property
    def ram(self) -> Ram:
        """The blocks as a guest's memory; what is not known raises `MissingPagesError`."""
        return Ram({view.name: view for view in self.blocks}, self.page_size_len)

    def close(self) -> None:
        """Close all files."""
        for source in self.opened:
            source.close()
        for container in self.containers:
            container.close()
