"""What a debugger says to QEMU's gdb stub to have one instruction run, and nothing else."""

import socket
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_ANSWER_SECONDS: Final = 20.0
_READ_LEN: Final = 4096
_CHECKSUM_LEN: Final = 2
NAME: Final = "gdb.sock"
# QEMU's arguments; its working directory takes the socket.
ARGUMENTS: Final = (
    *("-chardev", f"socket,id=gdb0,path={NAME},server=on,wait=off"),
    *("-gdb", "chardev:gdb0"),
)


class GdbStub:
    """A connection to the stub; a context manager. The guest stands still while it is open.

    Args:
        directory: QEMU's working directory, when it was started with `ARGUMENTS`.
    """

    def __init__(self, directory: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(_ANSWER_SECONDS)
        self._socket.connect(str(directory / NAME))

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection."""
        self._socket.close()

    def step(self) -> None:
        """Have the CPU run one instruction."""
        assert self._ask("s").startswith("T05"), "the guest stopped by a trap"

    def write(self, addr: int, data: bytes) -> None:
        """Write into memory, at an address as the CPU sees it (physical while paging is off)."""
        assert self._ask("Qqemu.PhyMemMode:1") == "OK"
        assert self._ask(f"M{addr:x},{len(data):x}:{data.hex()}") == "OK"

    def _ask(self, text: str) -> str:
        """Send a packet and return what the stub answers."""
        self._socket.sendall(b"$%s#%02x" % (text.encode(), sum(text.encode()) % 256))
        data = b""
        while True:
            start = data.find(b"$")
            end = data.find(b"#", start) if start >= 0 else -1
            if 0 <= end <= len(data) - 1 - _CHECKSUM_LEN:
                self._socket.sendall(b"+")
                return data[start + 1 : end].decode()
            received = self._socket.recv(_READ_LEN)
            assert received, "the stub closed the connection"
            data += received
