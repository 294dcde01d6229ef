"""What a rule has to say about a capture, at a byte."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qmig.errors import join_hint

if TYPE_CHECKING:
    from qmig.checks.rule import Rule


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that is broken, at a byte.

    Attributes:
        rule: which.
        path: name of the file, with its decompressor where there is one.
        offset: first byte of what is wrong, in that file.
        length: its bytes; 0 where something is missing.
        record: the record that it is in, in words.
        field: the field in it, under QEMU's name, or None.
        expected: what the format wants there.
        found: what stood there.
        message: what a QEMU 10.0 prints, arguments filled in; None where it prints nothing of
            its own for this.
        hint: what the user can do, or None.
    """

    rule: Rule
    path: str
    offset: int
    length: int
    record: str
    expected: str
    found: str
    field: str | None = None
    message: str | None = None
    hint: str | None = None

    def __str__(self) -> str:
        what = f"{self.record}: {self.field}" if self.field else self.record
        line = (
            f"{self.path}: 0x{self.offset:08x} {self.rule.id} {self.rule.severity}: {what}: "
            f"expected {self.expected}, found {self.found}"
        )
        return join_hint(line, self.hint)
