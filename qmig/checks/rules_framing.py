"""QM0xx: the file header, sections, footers, configuration, commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from qmig.checks.rule import Rule

RULES: Final[tuple[Rule, ...]] = ()
