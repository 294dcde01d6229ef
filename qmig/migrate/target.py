"""Where an output is to go, and whether it can: looked at before any work is done."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qmig.errors import OutputError, OutputRefusedError, WriterError
from qmig.migrate.descriptor import output_error

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Target:
    """A name that an output may take.

    Attributes:
        path: as the user gave it.
        folder: where the file is to be, with symbolic links followed.
        name: its name there.
        force: whether it may replace a file.
        replaced: what stands there now, None where nothing does.
    """

    path: str
    folder: Path
    name: str
    force: bool
    replaced: os.stat_result | None


def check_not_read(out: str | os.PathLike[str], inputs: Iterable[str | os.PathLike[str]]) -> None:
    """Refuse to replace a file that is read.

    Raises:
        WriterError: an output is one of the inputs.
    """
    try:
        target = Path(out).stat()
    except (OSError, ValueError):
        return  # nothing is there
    for path in inputs:
        with contextlib.suppress(OSError, ValueError):
            if os.path.samestat(target, Path(path).stat()):
                raise WriterError(f"{os.fspath(out)} is one of the files to read")


def check_target(path: str | os.PathLike[str], *, force: bool = False) -> Target:
    """Look whether a file can be written at a path, without changing anything.

    Args:
        path: the path; a symbolic link stands for the file that it names.
        force: whether an existing file may be replaced.

    Raises:
        OutputRefusedError: a file is there and `force` is not given, or it is no ordinary file.
        OutputError: its folder is missing, or cannot be written to.
    """
    text = os.fspath(path)
    if not text or text.endswith("/"):
        raise OutputRefusedError("names no file", path=text or '""')
    try:
        resolved = Path(text).resolve()
        replaced = _existing(resolved)
        folder = resolved.parent.stat()
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop, before Python 3.13
        if isinstance(error, OSError):
            raise output_error(text, "cannot write there", error) from error
        raise OutputRefusedError("is a loop of symbolic links", path=text) from error
    target = Target(text, resolved.parent, resolved.name, force, replaced)
    if replaced is not None:
        _check_replaced(target, replaced)
    _check_folder(target, folder)
    return target


def _existing(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _check_replaced(target: Target, replaced: os.stat_result) -> None:
    if not stat.S_ISREG(replaced.st_mode):
        raise OutputRefusedError(
            f"is {kind_of(replaced)}, not a file",
            path=target.path,
            hint="only a file can be written at any place and be put there as a whole",
        )
    if not target.force:
        raise OutputRefusedError("exists already", path=target.path, hint="--force replaces it")


def kind_of(status: os.stat_result) -> str:
    """Say what a name stands for."""
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a character device",
        stat.S_IFBLK: "a block device",
        stat.S_IFREG: "a file",
    }
    return kinds.get(stat.S_IFMT(status.st_mode), "of an unknown kind")


def _check_folder(target: Target, folder: os.stat_result) -> None:
    if not os.access(target.folder, os.W_OK | os.X_OK, effective_ids=True):
        read_only = os.statvfs(target.folder).f_flag & os.ST_RDONLY
        number = errno.EROFS if read_only else errno.EACCES
        error = OSError(number, os.strerror(number))
        raise output_error(target.path, f"cannot write in {target.folder}", error)
    others = target.replaced is not None and target.replaced.st_uid != os.geteuid()
    kept = folder.st_mode & stat.S_ISVTX and folder.st_uid != os.geteuid() and os.geteuid() != 0
    if others and kept:
        raise OutputError(
            f"belongs to another user, and {target.folder} lets only owners replace files",
            path=target.path,
        )
