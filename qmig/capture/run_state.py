"""Whether the guest ran: what the `globalstate` section says.

Body of version 1: be32 size (the text and its NUL), 100 bytes that begin with the text. Since 9.0
the bytes from 32 on have another use (`system/globalstate.c`), which no reader of the text needs.
"""

from __future__ import annotations

from typing import Final

SECTION_NAME: Final = "globalstate"
BODY_LEN: Final = 104
_TEXT_AT: Final = 4
_TEXT_MAX_LEN: Final = 32  # what 9.0 has left for it; the longest state has 14 characters


def parse_run_state(body: bytes) -> str | None:
    """Return QEMU's word for the state of the guest ("running", "paused", "postmigrate").

    Args:
        body: the section's body.

    Returns:
        The word; None where the body does not hold one.
    """
    if len(body) < BODY_LEN:
        return None
    text, nul, _ = body[_TEXT_AT : _TEXT_AT + _TEXT_MAX_LEN].partition(b"\0")
    word = text.decode("ascii", "replace")
    return word if nul and word.replace("-", "").isalpha() else None
