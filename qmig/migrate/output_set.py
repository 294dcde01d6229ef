"""The several files of one save, of which all appear or none."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from qmig.errors import OutputRefusedError
from qmig.migrate.descriptor import output_error
from qmig.migrate.output import AtomicFile
from qmig.migrate.target import check_target

if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from types import TracebackType


class AtomicSet:
    """The files of one save: all of them appear, or none.

    The first one is the main one: where old files are replaced, it goes away first and comes last,
    so that whoever ends the process in between leaves no set that could be taken for a complete
    one. Its old files are then beside it under names with `.qmig-`. Use it as a context manager.

    Args:
        force: whether files may be replaced.
        anonymous: see `AtomicFile`.
        durable: see `AtomicFile`.
    """

    def __init__(
        self, *, force: bool = False, anonymous: bool = True, durable: bool = True
    ) -> None:
        self.files: list[AtomicFile] = []
        self._force = force
        self._anonymous = anonymous
        self._durable = durable
        self._done = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.discard()

    def open(self, path: str | os.PathLike[str], *, direct_io: bool = False) -> AtomicFile:
        """Add a file.

        Raises:
            OutputRefusedError: something is there and may not be replaced, or two are the same.
            OutputError: its folder is missing, or cannot be written to.
        """
        target = check_target(path, force=self._force)
        for file in self.files:
            other = file.draft.target
            if (other.folder, other.name) == (target.folder, target.name):
                raise OutputRefusedError(f"is the same file as {other.path}", path=target.path)
        file = AtomicFile(
            path,
            force=self._force,
            direct_io=direct_io,
            anonymous=self._anonymous,
            durable=self._durable,
        )
        self.files.append(file)
        return file

    def commit(self) -> None:
        """Put all files in their places, complete and durable.

        Raises:
            OutputRefusedError: something has been made at one of the places meanwhile.
            OutputError: the storage failed, or a name cannot be given; all is as it was.
            RuntimeError: some thread still writes.
        """
        if len(self.files) == 1:
            self.files[0].commit()
            return
        for file in self.files:
            file.sync()
        try:
            self._change_over()
            self._done = True
        finally:
            if not self._done:
                self._change_back()
        self.discard()

    def _change_over(self) -> None:
        for file in self.files if self._force else ():
            _naming(file, file.draft.retire_old)
        for file in reversed(self.files):
            _naming(file, file.draft.publish_new)
        for file in self.files:
            _naming(file, file.sync_folder)

    def _change_back(self) -> None:
        with ExitStack() as steps:  # runs them from the last to the first, whatever fails
            for file in self.files:
                steps.callback(_naming, file, file.draft.restore_old, undoing=True)
            for file in self.files:
                steps.callback(_naming, file, file.draft.unpublish, undoing=True)

    def discard(self) -> None:
        """Give up what is not complete. Never waits for threads."""
        for file in self.files:
            if self._done:
                file.settle()
            else:
                file.discard()


def _naming(file: AtomicFile, change: Callable[[], None], *, undoing: bool = False) -> None:
    """Run one step that changes names; a failure is an error of the file."""
    try:
        change()
    except OSError as error:
        doing, hint = "cannot put the files of this save in their places", None
        if undoing:
            doing = "the save has failed, and its changes to names cannot be undone"
            old = file.draft.old_name
            hint = f"what was there is {file.draft.target.folder / old}" if old else None
        raise output_error(file.path, doing, error, hint=hint) from error
