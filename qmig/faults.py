"""What a reader can meet at a byte that it cannot get past, by name.

A reader says what it met; what that means to a QEMU is told by the rules (`qmig.checks`), which
name these. One member for each cause that a rule tells apart.
"""

from __future__ import annotations

from enum import StrEnum


class Fault(StrEnum):
    """The cause of a `StreamError`; the values are for people who debug qmig."""

    FOOTER_MISSING = "footer-missing"
    FOOTER_ID = "footer-id"
    ELEMENT_TYPE = "element-type"
