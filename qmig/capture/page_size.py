"""The target page size: known from the stream, or guessed from the machine and said so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# QEMU names its boards; those whose target has other pages than 4096 bytes (target/*/cpu-param.h).
_PAGE_SIZE_OF_MACHINE: Final[dict[str, int]] = {
    "clipper": 8192,
    "or1k-sim": 8192,
    "sun4u": 8192,
    "sun4v": 8192,
    "niagara": 8192,
    "tricore_testboard": 16384,
    "KIT_AURIX_TC277_TRB": 16384,
    "V66G_1024": 65536,
    "uno": 256,
    "mega": 256,
    "mega2560": 256,
    "2009": 256,
    "arduino-uno": 256,
    "arduino-duemilanove": 256,
    "arduino-mega": 256,
    "arduino-mega-2560-v3": 256,
}
DEFAULT_PAGE_SIZE_LEN: Final = 4096
LEGAL_PAGE_SIZES: Final = tuple(1 << bits for bits in range(8, 17))
SMALLEST_PAGE_SIZE_LEN: Final = LEGAL_PAGE_SIZES[0]

# How trustworthy each origin of a page size is, best first.
ORIGINS: Final = (
    "given by the user",
    "configuration/target-page-bits",
    "vmdescription",
    "mapped-ram header",
    "POSTCOPY_ADVISE",
    "multifd packets",
    "page records",
    "machine type",
    "assumed",
)


@dataclass(frozen=True)
class PageSize:
    """A target page size and where it is known from.

    Attributes:
        length: bytes, a power of two from 256 to 65536.
        origin: one of `ORIGINS`.
    """

    length: int
    origin: str

    def better_than(self, other: PageSize | None) -> bool:
        """Tell whether this one is known from a better place."""
        return other is None or ORIGINS.index(self.origin) < ORIGINS.index(other.origin)


def page_size_of_machine(machine: str | None) -> PageSize:
    """Guess from the machine type (None: not in the stream)."""
    if machine in _PAGE_SIZE_OF_MACHINE:
        return PageSize(_PAGE_SIZE_OF_MACHINE[machine], "machine type")
    return PageSize(DEFAULT_PAGE_SIZE_LEN, "machine type" if machine else "assumed")
