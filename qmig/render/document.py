"""Building blocks of the document that text and JSON are made of.

A value that is not there is null, and the reason stands under `absent` in the same object.
"""

from __future__ import annotations

from typing import Any, Final

Document = dict[str, Any]
ABSENT: Final = "absent"


class Absent:
    """Stands for a value that is not there, with the reason."""

    __slots__ = ("reason",)

    def __init__(self, reason: str) -> None:
        self.reason = reason


def make(**fields: Any) -> Document:  # noqa: ANN401  # any JSON value
    """Return a JSON object of these fields; those that are `Absent` become null."""
    out: Document = {}
    reasons: dict[str, str] = {}
    for name, value in fields.items():
        if isinstance(value, Absent):
            out[name] = None
            reasons[name] = value.reason
        else:
            out[name] = value
    if reasons:
        out[ABSENT] = reasons
    return out


def known(value: Any, reason: str) -> Any:  # noqa: ANN401  # any JSON value
    """Return a value, or `Absent` with the reason where it is None."""
    return Absent(reason) if value is None else value


def why(document: Document, name: str) -> str:
    """Return the reason why a field is null; "" where it is not."""
    reasons: dict[str, str] = document.get(ABSENT, {})
    return reasons.get(name, "")
