"""Commands: what stands between sections and is not a section."""

from collections.abc import Iterable
from enum import IntEnum

from tests.builders.framing import COMMAND
from tests.builders.primitives import be16, be32, be64, counted


class Command(IntEnum):
    """Command numbers from 3.1 on (prefix MIG_CMD_)."""

    INVALID = 0
    OPEN_RETURN_PATH = 1
    PING = 2
    POSTCOPY_ADVISE = 3
    POSTCOPY_LISTEN = 4
    POSTCOPY_RUN = 5
    POSTCOPY_RAM_DISCARD = 6
    PACKAGED = 7
    ENABLE_COLO = 8
    POSTCOPY_RESUME = 9
    RECV_BITMAP = 10
    SWITCHOVER_START = 11


# 3.0 had no ENABLE_COLO yet, so its recovery commands stand one lower.
POSTCOPY_RESUME_3_0 = 8
RECV_BITMAP_3_0 = 9


def command(number: int, payload: bytes = b"", *, payload_len: int | None = None) -> bytes:
    """Build any command, also one that does not exist or lies about its length."""
    announced = len(payload) if payload_len is None else payload_len
    return bytes([COMMAND]) + be16(number) + be16(announced) + payload


def open_return_path() -> bytes:
    """Build the request for a way back."""
    return command(Command.OPEN_RETURN_PATH)


def ping(value: int) -> bytes:
    """Build a ping; the destination answers with its value."""
    return command(Command.PING, be32(value))


def postcopy_advise(page_sizes: int | None = None, target_page_size: int = 4096) -> bytes:
    """Build the postcopy announcement.

    Args:
        page_sizes: All RAM blocks' page sizes, or-ed; None for the empty form that
            announces dirty bitmaps only.
        target_page_size: The target's page size.
    """
    payload = b"" if page_sizes is None else be64(page_sizes) + be64(target_page_size)
    return command(Command.POSTCOPY_ADVISE, payload)


def postcopy_listen() -> bytes:
    """Build the first command of a package."""
    return command(Command.POSTCOPY_LISTEN)


def postcopy_run() -> bytes:
    """Build the last command of a package."""
    return command(Command.POSTCOPY_RUN)


def postcopy_ram_discard(
    block: str | bytes,
    ranges: Iterable[tuple[int, int]],
    *,
    version: int = 0,
    nil: int = 0,
    name_len: int | None = None,
) -> bytes:
    """Build a discard of (start, length) byte ranges of one block."""
    pairs = b"".join(be64(start) + be64(length) for start, length in ranges)
    head = bytes([version]) + counted(block, length=name_len) + bytes([nil])
    return command(Command.POSTCOPY_RAM_DISCARD, head + pairs)


def packaged(elements: bytes, *, length: int | None = None) -> bytes:
    """Build a package: its elements follow the command, outside the command's length."""
    return command(Command.PACKAGED, be32(len(elements) if length is None else length)) + elements


def enable_colo() -> bytes:
    """Build the announcement of COLO replication."""
    return command(Command.ENABLE_COLO)


def postcopy_resume(*, number: int = Command.POSTCOPY_RESUME) -> bytes:
    """Build the end of a recovery handshake."""
    return command(number)


def recv_bitmap(
    block: str | bytes, *, number: int = Command.RECV_BITMAP, name_len: int | None = None
) -> bytes:
    """Build the question for the pages of a block that have arrived."""
    return command(number, counted(block, length=name_len))


def switchover_start() -> bytes:
    """Build the mark in front of the last sections of live handlers."""
    return command(Command.SWITCHOVER_START)
