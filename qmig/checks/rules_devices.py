"""QM4xx: device sections and the vmdescription."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from qmig.checks.rule import Rule

RULES: Final[tuple[Rule, ...]] = ()
