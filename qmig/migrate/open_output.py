"""Open what a user named as output, whatever it is."""

from __future__ import annotations

import os
from pathlib import Path

from qmig.errors import OutputRefusedError
from qmig.migrate.output import AtomicFile
from qmig.migrate.stream_output import STANDARD_OUTPUT, StreamOutput, names_stream

Output = AtomicFile | StreamOutput


def open_output(
    path: str | os.PathLike[str],
    *,
    force: bool = False,
    direct_io: bool = False,
    allow_stream: bool = False,
    durable: bool = True,
) -> Output:
    """Open what a user named as output.

    Args:
        path: a file; with `allow_stream` also "-" for standard output, a pipe or a device.
        force: whether a file may be replaced, or a block device overwritten.
        direct_io: see `AtomicFile`; means nothing to a pipe.
        allow_stream: whether the output is only appended to.
        durable: see `AtomicFile`.

    Raises:
        OutputRefusedError: it is something else, or there already.
        OutputError: it cannot be opened.
    """
    if not names_stream(path):
        return AtomicFile(path, force=force, direct_io=direct_io, durable=durable)
    if not allow_stream:
        name = "standard output" if os.fspath(path) == STANDARD_OUTPUT else os.fspath(path)
        raise OutputRefusedError(
            "only goes forwards, and this format is written at many places",
            path=name,
            hint="name an ordinary file",
        )
    return open_stream(path, force=force)


def open_stream(path: str | os.PathLike[str], *, force: bool = False) -> StreamOutput:
    """Open standard output, a pipe or a device; opening a pipe waits for its reader.

    Raises:
        OutputRefusedError: it is a terminal, or a block device and `force` is not given.
        OutputError: it cannot be opened.
    """
    check_stream(path, force=force)
    return StreamOutput(path)


def check_stream(path: str | os.PathLike[str], *, force: bool = False) -> None:
    """Look whether a stream can go there, without opening a pipe or a device.

    Raises:
        OutputRefusedError: it is a terminal, or a block device and `force` is not given.
    """
    if os.fspath(path) == STANDARD_OUTPUT:
        StreamOutput(path).close()
    elif not force and Path(path).is_block_device():
        raise OutputRefusedError(
            "is a block device", path=os.fspath(path), hint="--force overwrites what is on it"
        )
