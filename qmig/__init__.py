"""Read, check, extract and write QEMU migration streams.

    >>> import qmig
    >>> with qmig.open_capture("vm.sav") as capture:          # doctest: +SKIP
    ...     page = capture.ram["pc.ram"].read(0x100000, 4096)
    >>> qmig.validate("vm.sav").sound                         # doctest: +SKIP
    >>> qmig.save("vm.sav", "vm.img", format="mapped-ram")    # doctest: +SKIP

The names below are the public face; they are loaded when they are first used, so that
`qmig --version` costs no more than Python itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qmig._version import __version__

if TYPE_CHECKING:
    from qmig.api import save
    from qmig.capture.capture import Capture, open_capture
    from qmig.checks.finding import Finding
    from qmig.checks.validate import validate
    from qmig.checks.verdict import Verdict
    from qmig.comparison.compare import compare
    from qmig.comparison.model import Comparison
    from qmig.errors import (
        FileError,
        LimitExceededError,
        MalformedStreamError,
        MissingPagesError,
        OutputClosedError,
        OutputError,
        OutputRefusedError,
        QmigError,
        SourceError,
        StreamError,
        TruncatedStreamError,
        UnsupportedStreamError,
        WriterError,
    )
    from qmig.export.extract import Extract
    from qmig.extracting import extract
    from qmig.salvaging import Salvage, salvage

__all__ = [
    "Capture",
    "Comparison",
    "Extract",
    "FileError",
    "Finding",
    "LimitExceededError",
    "MalformedStreamError",
    "MissingPagesError",
    "OutputClosedError",
    "OutputError",
    "OutputRefusedError",
    "QmigError",
    "Salvage",
    "SourceError",
    "StreamError",
    "TruncatedStreamError",
    "UnsupportedStreamError",
    "Verdict",
    "WriterError",
    "__version__",
    "compare",
    "extract",
    "open_capture",
    "salvage",
    "save",
    "validate",
]

_PLACES = {
    "Capture": "qmig.capture.capture",
    "Comparison": "qmig.comparison.model",
    "Extract": "qmig.export.extract",
    "Finding": "qmig.checks.finding",
    "Salvage": "qmig.salvaging",
    "Verdict": "qmig.checks.verdict",
    "compare": "qmig.comparison.compare",
    "extract": "qmig.extracting",
    "open_capture": "qmig.capture.capture",
    "salvage": "qmig.salvaging",
    "save": "qmig.api",
    "validate": "qmig.checks.validate",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'qmig' has no attribute {name!r}")
    from importlib import import_module

    module = import_module(_PLACES.get(name, "qmig.errors"))
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted(__all__)
