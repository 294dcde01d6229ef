"""What a migrator writes its pages through: one layout an output format.

The migrator calls, in this order: `setup`; for each part `send` ..., then `part_end`, with
`round_end` where the scan begins anew; and at last the same for the END section, closed by
`complete`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qmig.memory import RamBlock


class Layout(Protocol):
    """An output format."""

    def setup(self, blocks: Sequence[RamBlock]) -> None:
        """Write what stands in the START section, its EOS word included."""

    def send(self, block: int, first: int, count: int, *, first_round: bool) -> None:
        """Send pages of a block as they are now."""

    def round_end(self) -> None:
        """The scan over dirty pages begins anew: nothing sent later may be overtaken."""

    def part_end(self) -> None:
        """Write what closes a PART section's body, its EOS word included."""

    def complete(self) -> None:
        """Write what closes the END section's body, its EOS word included."""
