"""The document as JSON, for programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qmig.render.document import Document


def json_text(report: Document) -> str:
    """Return the document as JSON text, ASCII alone, with a line feed at its end."""
    return json.dumps(report, indent=2) + "\n"
