"""QM3xx: channels, packets, and how channels and main stream are brought into step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from qmig.checks.rule import Rule

RULES: Final[tuple[Rule, ...]] = ()
