"""What the bytes are: construct schemas and QEMU's constants. No I/O, no judgement."""

from __future__ import annotations

import sys
from types import ModuleType


class _LaterPdb(ModuleType):
    """Stands for `pdb` in `construct.debug` until someone debugs a schema with it."""

    def __getattr__(self, name: str) -> object:
        import pdb  # what construct.debug would have imported

        return getattr(pdb, name)


def _import_construct() -> None:
    """Import construct without the debugger that its `Debugger` needs and nothing else.

    pdb and what it pulls in cost a third of the import; `qmig inspect` has 0.1 s for all it does.
    """
    if "pdb" in sys.modules:
        return
    sys.modules["pdb"] = _LaterPdb("pdb")
    try:
        import construct  # noqa: F401  # for others, who find it loaded
    finally:
        del sys.modules["pdb"]


_import_construct()
