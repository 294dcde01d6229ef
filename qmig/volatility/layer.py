"""The layers that Volatility gets: a guest's physical memory, or why it cannot be had."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from volatility3.framework import exceptions, interfaces
from volatility3.framework.configuration import requirements

from qmig.errors import QmigError
from qmig.volatility.guest import GuestRequest, open_guest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from qmig.volatility.guest import PageTables


FILES: Final = "qmig_files"
CHANNELS: Final = "qmig_channels"
PAGE_SIZE: Final = "qmig_page_size"
OFFSET: Final = "qmig_offset"
BELOW_4G: Final = "qmig_below_4g"
REASON: Final = "reason"


def option_requirements() -> list[interfaces.configuration.RequirementInterface]:
    """Return what can be told of a capture besides its file; `vol` makes options of them."""
    return [
        requirements.ListRequirement(
            name=CHANNELS,
            element_type=str,
            optional=True,
            description="Files of the other connections of a migration (qmig)",
        ),
        requirements.IntRequirement(
            name=PAGE_SIZE,
            optional=True,
            description="Target page size, where the capture does not tell it (qmig)",
        ),
        requirements.IntRequirement(
            name=OFFSET,
            optional=True,
            description="Where the capture begins in its file, if not at byte 0 (qmig)",
        ),
        requirements.IntRequirement(
            name=BELOW_4G,
            optional=True,
            description="Bytes of RAM below 4 GiB, where the capture does not tell it (qmig)",
        ),
    ]


class QmigLayer(interfaces.layers.DataLayerInterface):
    """The guest-physical memory of a capture.

    What the capture does not hold, and addresses at which no RAM stands, are invalid.

    Its metadata has `page_map_offset`, the root of the page tables that a CPU ran with, where one
    of an x86 guest has paging on.
    """

    def __init__(
        self,
        context: interfaces.context.ContextInterface,
        config_path: str,
        name: str,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(context=context, config_path=config_path, name=name, metadata=metadata)
        self._guest = open_guest(request_of(self.config, self.config[FILES]))
        tables = self._guest.page_tables
        if tables is not None:
            self._metadata["page_map_offset"] = tables.root_addr

    @classmethod
    def get_requirements(cls) -> list[interfaces.configuration.RequirementInterface]:
        """Return what the layer is made from."""
        files = requirements.ListRequirement(
            name=FILES, element_type=str, min_elements=1, description="The files of the capture"
        )
        return [*super().get_requirements(), files, *option_requirements()]

    @property
    def page_tables(self) -> PageTables | None:
        """The page tables of a CPU, where there are some that Volatility can follow."""
        return self._guest.page_tables

    @property
    def minimum_address(self) -> int:
        """The first guest-physical address that shows RAM."""
        return self._guest.memory.first_addr

    @property
    def maximum_address(self) -> int:
        """The last guest-physical address that shows RAM."""
        return self._guest.memory.end_addr - 1

    def is_valid(self, offset: int, length: int = 1) -> bool:
        """Tell whether the capture holds all of a range."""
        return self._guest.memory.gap(offset, length) is None

    def read(self, offset: int, length: int, pad: bool = False) -> bytes:  # noqa: FBT001, FBT002
        """Return guest-physical memory.

        Args:
            offset: guest-physical address.
            length: number of bytes.
            pad: give zeros for what is not there.

        Raises:
            InvalidAddressException: something of it is not there (without `pad`), or damaged.
        """
        memory = self._guest.memory
        gap = None if pad else memory.gap(offset, length)
        if gap is not None:
            raise exceptions.InvalidAddressException(self.name, gap.addr, gap.reason)
        try:
            return memory.read(offset, length)
        except QmigError as error:
            raise exceptions.InvalidAddressException(self.name, offset, str(error)) from error

    def write(self, offset: int, data: bytes) -> None:
        """Refuse: captures are evidence.

        Raises:
            LayerException: always.
        """
        reason = f"{len(data)} bytes at 0x{offset:x} are not written: captures are only read"
        raise exceptions.LayerException(self.name, reason)

    def _scan_iterator(
        self, scanner: interfaces.layers.ScannerInterface, sections: Iterable[tuple[int, int]]
    ) -> Iterator[tuple[list[tuple[str, int, int]], int]]:
        """Yield the pieces to scan, as (layer, address, length) and the address behind it.

        Volatility's own takes a layer for memory without holes, and passes over a whole piece when
        something in it is missing.
        """
        for addr, length in sections:
            for start, end in self._guest.memory.runs(addr, length):
                at = start
                while at < end:
                    piece_len = min(end - at, scanner.chunk_size + scanner.overlap)
                    yield [(self.name, at, piece_len)], at + piece_len
                    at += min(piece_len, scanner.chunk_size)


class QmigRefusedLayer(interfaces.layers.DataLayerInterface):
    """Stands for a capture that cannot be read, so that nothing else reads it wrongly."""

    @classmethod
    def get_requirements(cls) -> list[interfaces.configuration.RequirementInterface]:
        """Return what the layer is made from."""
        reason = requirements.StringRequirement(name=REASON, description="Why it cannot be read")
        return [*super().get_requirements(), reason]

    def _refusal(self) -> Exception:
        error: Exception = exceptions.InvalidAddressException(self.name, 0, self.config[REASON])
        return error

    @property
    def minimum_address(self) -> int:
        """Refuse: there is none."""
        raise self._refusal()

    @property
    def maximum_address(self) -> int:
        """Refuse: there is none."""
        raise self._refusal()

    def is_valid(self, offset: int, length: int = 1) -> bool:
        """Return False: nothing is there."""
        return False

    def read(self, offset: int, length: int, pad: bool = False) -> bytes:  # noqa: FBT001, FBT002
        """Refuse, also where zeros would do.

        Raises:
            InvalidAddressException: always.
        """
        raise self._refusal()

    def write(self, offset: int, data: bytes) -> None:
        """Refuse.

        Raises:
            InvalidAddressException: always.
        """
        raise self._refusal()


def request_of(config: Mapping[str, Any], files: Iterable[str]) -> GuestRequest:
    """Return the request that a configuration makes.

    Args:
        config: Volatility's configuration, at the place of the options.
        files: those of the main stream.
    """
    return GuestRequest(
        (*files, *(config.get(CHANNELS) or ())),
        config.get(PAGE_SIZE),
        config.get(OFFSET),
        config.get(BELOW_4G),
    )
