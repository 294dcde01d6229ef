"""Errors as lines on standard error."""

from __future__ import annotations

import contextlib
import sys

from qmig.render.words import harmless


def show_error(text: str) -> None:
    """Print one line on standard error; a closed one is no further matter."""
    line = f"qmig: {harmless(' '.join(text.splitlines()))}\n"
    if sys.stderr is None:
        return
    with contextlib.suppress(OSError):
        encoding = sys.stderr.encoding or "ascii"
        sys.stderr.write(line.encode(encoding, "backslashreplace").decode(encoding))
        sys.stderr.flush()
