"""A TPM in software, as QEMU's backend `emulator` has it."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from fixtures.recorder.errors import RecordError

_SOCKET: Final = "tpm.sock"
_SECONDS: Final = 20.0
ARGUMENTS: Final = (
    *("-chardev", f"socket,id=tpm,path={_SOCKET}"),
    *("-tpmdev", "emulator,id=tpm0,chardev=tpm"),
)
"""What makes it known to QEMU as `tpm0`."""


class SoftwareTpm:
    """One swtpm, whose state is empty; a context manager.

    Args:
        directory: where its state and its socket are; the QEMU's working directory.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start it.

        Raises:
            RecordError: it is not installed, or not there after a while.
        """
        if shutil.which("swtpm") is None:
            raise RecordError("swtpm is not installed; Debian has it in the package swtpm")
        state = self._directory / "tpm"
        state.mkdir()
        self._process = subprocess.Popen(
            [
                *("swtpm", "socket", "--tpm2", "--tpmstate", f"dir={state}"),
                *("--ctrl", f"type=unixio,path={_SOCKET}"),
            ],
            cwd=self._directory,
            stdin=subprocess.DEVNULL,
        )
        until = time.monotonic() + _SECONDS
        while not (self._directory / _SOCKET).exists():
            if self._process.poll() is not None or time.monotonic() > until:
                self._end()
                raise RecordError("swtpm did not start")
            time.sleep(0.05)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it."""
        self._end()

    def _end(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()


def tpm_of(arguments: Sequence[str], directory: Path) -> AbstractContextManager[object]:
    """Return the TPM that a QEMU's command line needs; nothing where it needs none."""
    return SoftwareTpm(directory) if set(ARGUMENTS) <= set(arguments) else nullcontext()
