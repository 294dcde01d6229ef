"""An unfinished file beside the place where it is to go, and the change over.

It has no name where the file system can do that (O_TMPFILE): whatever ends the process, nothing is
left. Elsewhere its name is `.NAME.qmig-` and random digits.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from qmig.errors import OutputRefusedError
from qmig.migrate.descriptor import output_error

if TYPE_CHECKING:
    from qmig.migrate.target import Target

_MAX_NAME_LEN: Final = 255  # bytes, on every file system of Linux
_NEW_MODE: Final = 0o666  # less the umask, which the kernel takes off
_PRIVATE_MODE: Final = 0o600
# Answers to O_TMPFILE: the file system, or the kernel, cannot do it.
_NO_ANONYMOUS_FILES: Final = (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL)
# Answers to link: a file system without hard links.
_NO_LINKS: Final = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class Draft:
    """The unfinished file of a target.

    Each name that it takes is noted before it is taken, so that `remove` finds it whenever it is
    called, by an exception out of a signal handler, too. One that nobody holds any more removes
    itself: a signal can come when it has been made and before any `with` has it.

    Args:
        target: where it is to go.
        anonymous: whether to try a file without a name.

    Raises:
        OutputError: it cannot be made.
    """

    _folder_fd = -1

    def __init__(self, target: Target, *, anonymous: bool = True) -> None:
        self.target = target
        self.fd = -1
        """The file; it is closed by whoever writes to it."""
        self._name: str | None = None
        self.old_name: str | None = None
        """Beside the target, what the file is called that `retire_old` moved."""
        made = False
        try:
            self._folder_fd = os.open(target.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            if anonymous:
                self.fd = self._open_anonymous()
            self.anonymous = self.fd >= 0
            if not self.anonymous:
                self.fd = self._open_named()
            if target.replaced is not None:
                self._take_over(target.replaced)
            made = True
        except OSError as error:
            raise output_error(target.path, f"cannot write in {target.folder}", error) from error
        finally:
            if not made:
                self._abandon()

    def __del__(self) -> None:
        with contextlib.suppress(OSError):
            self.remove()

    def _abandon(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
        self.remove()

    def _mode(self) -> int:
        return _NEW_MODE if self.target.replaced is None else _PRIVATE_MODE

    def _open_anonymous(self) -> int:
        """Open a file without a name; -1 where it could not be given one later."""
        flags = os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC
        try:
            fd = os.open(".", flags, self._mode(), dir_fd=self._folder_fd)
        except OSError as error:
            if error.errno in _NO_ANONYMOUS_FILES:
                return -1
            raise
        with contextlib.suppress(OSError):
            if os.path.samestat(path_of(fd).stat(), os.fstat(fd)):
                return fd
        os.close(fd)  # no /proc here
        return -1

    def _open_named(self) -> int:
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
        self._name = self._new_name()
        return os.open(self._name, flags, self._mode(), dir_fd=self._folder_fd)

    def _new_name(self) -> str:
        """Return a name that nobody can have foreseen."""
        end = f".qmig-{os.urandom(8).hex()}"
        room = _MAX_NAME_LEN - len(end) - 1
        start = os.fsdecode(os.fsencode(self.target.name)[:room])
        return f".{start}{end}"

    def _take_over(self, replaced: os.stat_result) -> None:
        """Give it the owner and the permissions of the file that it will replace."""
        own = os.fstat(self.fd)
        if (own.st_uid, own.st_gid) != (replaced.st_uid, replaced.st_gid):
            with contextlib.suppress(PermissionError):
                os.fchown(self.fd, replaced.st_uid, replaced.st_gid)
        os.fchmod(self.fd, stat.S_IMODE(replaced.st_mode))

    def free_len(self) -> int:
        """Return how many bytes are free where it is written."""
        status = os.fstatvfs(self._folder_fd)
        return status.f_bavail * status.f_frsize

    def publish(self) -> None:
        """Give it its name, in place of what has it; or as a new name, if it may replace nothing.

        Raises:
            OutputRefusedError: it may replace nothing, and something has the name.
            OSError: the kernel refused.
        """
        if self.target.force:
            self._replace()
        else:
            self.publish_new()

    def _replace(self) -> None:
        if self._name is None:
            name = self._name = self._new_name()
            self._link(name)
        self._rename(self._name, self.target.name)

    def publish_new(self) -> None:
        """Give it its name, which must be free.

        Raises:
            OutputRefusedError: something has the name.
            OSError: the kernel refused.
        """
        try:
            try:
                self._link(self.target.name)
            except OSError as error:
                if error.errno not in _NO_LINKS or self.anonymous:
                    raise
                self._claim_and_replace()
        except FileExistsError as error:
            raise OutputRefusedError(
                "was made by someone else while it was written, and stays as it is",
                path=self.target.path,
                hint="--force replaces it",
            ) from error

    def _claim_and_replace(self) -> None:
        """Take a free name where there are no hard links: an empty file holds it for a moment."""
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
        os.close(os.open(self.target.name, flags, _PRIVATE_MODE, dir_fd=self._folder_fd))
        done = False
        try:
            self._replace()
            done = True
        finally:
            if not done:
                os.unlink(self.target.name, dir_fd=self._folder_fd)

    def _link(self, name: str) -> None:
        if self.anonymous:
            os.link(path_of(self.fd), name, dst_dir_fd=self._folder_fd, follow_symlinks=True)
        elif self._name is not None:
            os.link(
                self._name,
                name,
                src_dir_fd=self._folder_fd,
                dst_dir_fd=self._folder_fd,
                follow_symlinks=False,
            )

    def unpublish(self) -> None:
        """Take its name away again, if it has it.

        Raises:
            OSError: the kernel refused.
        """
        with contextlib.suppress(FileNotFoundError):
            found = os.stat(self.target.name, dir_fd=self._folder_fd, follow_symlinks=False)
            if os.path.samestat(found, os.fstat(self.fd)):
                os.unlink(self.target.name, dir_fd=self._folder_fd)

    def retire_old(self) -> None:
        """Move the file that has the name to another name, until `restore_old` or `drop_old`.

        Raises:
            OutputRefusedError: what has the name now is no file.
            OSError: the kernel refused.
        """
        with contextlib.suppress(FileNotFoundError):
            found = os.stat(self.target.name, dir_fd=self._folder_fd, follow_symlinks=False)
            if not stat.S_ISREG(found.st_mode):
                raise OutputRefusedError(
                    "is no file any more, and stays as it is", path=self.target.path
                )
            self.old_name = self._new_name()
            self._rename(self.target.name, self.old_name)

    def restore_old(self) -> None:
        """Give the name back to the file that had it.

        Raises:
            OSError: the kernel refused; `old_name` is what the file is called now.
        """
        if self.old_name is not None:
            with contextlib.suppress(FileNotFoundError):
                self._rename(self.old_name, self.target.name)

    def drop_old(self) -> None:
        """Remove the file that had the name.

        Raises:
            OSError: the kernel refused; the file stays, beside the new one.
        """
        if self.old_name is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.old_name, dir_fd=self._folder_fd)

    def _rename(self, name: str, new_name: str) -> None:
        os.replace(name, new_name, src_dir_fd=self._folder_fd, dst_dir_fd=self._folder_fd)

    def sync_folder(self) -> None:
        """Make names durable.

        Raises:
            OSError: the storage failed.
        """
        os.fsync(self._folder_fd)

    def remove(self) -> None:
        """Remove the name that it has beside the target, and let go of the folder.

        Raises:
            OSError: the kernel refused; the name stays.
        """
        folder_fd = self._folder_fd
        if folder_fd < 0:
            return
        try:
            if self._name is not None:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self._name, dir_fd=folder_fd)
        finally:
            self._folder_fd = -1
            os.close(folder_fd)


def path_of(fd: int) -> Path:
    """Return a path that leads to an open file, whether it has a name or not."""
    return Path(f"/proc/self/fd/{fd}")
