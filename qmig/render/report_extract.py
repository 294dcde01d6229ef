"""What `qmig extract` tells, as a document; it is described in `docs/json/extract.md`."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from qmig._version import __version__
from qmig.export.extract import ExtractFormat
from qmig.export.manifest import layout_object
from qmig.render.document import Absent, Document, known, make
from qmig.render.report import error_object
from qmig.render.words import pure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qmig.capture.capture import Capture
    from qmig.export.extract import Extract

SCHEMA: Final = "qmig.extract/1"
_MOST_RANGES: Final = 1000  # of missing memory; the manifest has all


def build_extract_report(
    capture: Capture, found: Extract, files: Sequence[str], out: str
) -> Document:
    """Return the document about an extraction that is done.

    Args:
        capture: where from; open.
        found: what was taken out.
        files: as the user named them.
        out: as the user named it.
    """
    layout = layout_object(found.layout)
    why = found.no_layout or "it was not asked for"
    return {
        "schema": SCHEMA,
        "qmig_version": __version__,
        "files": [pure(path) for path in files],
        "output": make(
            path=pure(out),
            format=found.format.value,
            length=found.length,
            manifest=known(
                None if found.manifest is None else pure(found.manifest), "none was asked for"
            ),
        ),
        **make(layout=Absent(pure(why)) if layout is None else layout),
        **_core(found),
        "blocks": [
            {
                "name": pure(written.block.name),
                "file": written.name,
                "length": written.block.used_length,
                "sha256": written.sha256,
            }
            for written in found.files
        ],
        "missing_length": found.missing.length,
        "missing": [
            {"block": pure(one.block), "block_addr": one.addr, "length": one.length}
            for one in islice(found.missing, _MOST_RANGES)
        ],
        "damage": [error_object(error) for error in capture.errors],
    }


def _core(found: Extract) -> Document:
    """Return what an ELF core has beside memory; nothing for other formats."""
    if found.format is not ExtractFormat.ELF:
        return {}
    vmcoreinfo = known(found.vmcoreinfo, "the guest's memory has no such note")
    return {"core": make(cpus=found.cpus, vmcoreinfo=vmcoreinfo)}
