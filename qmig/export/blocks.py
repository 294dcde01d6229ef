"""One sparse file for each RAM block, in a folder, with a manifest.

Names of blocks come from the stream, so they are never paths: a file's name begins with the
block's number, and keeps of its name letters, digits, dots, dashes and underscores. The manifest
tells which block is which.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from qmig.errors import OutputRefusedError
from qmig.migrate.channels import ThreadChannels
from qmig.migrate.descriptor import buffers_len, output_error
from qmig.migrate.output import AtomicFile
from qmig.migrate.target import check_target

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from qmig.export.content import Content, ContentSource
    from qmig.export.image import Progress
    from qmig.memory import RamBlock
    from qmig.migrate.channels import Job

MANIFEST_NAME: Final = "manifest.json"
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]")
_MOST_NAME_LEN: Final = 100
_ZEROS: Final = bytes(1 << 20)


@dataclass(frozen=True, slots=True)
class BlockFile:
    """A file that was written.

    Attributes:
        block: the entry of the block list.
        name: the file's name in the folder.
        sha256: of all its bytes, in hex.
    """

    block: RamBlock
    name: str
    sha256: str


def file_name(block: RamBlock) -> str:
    """Return the name of a block's file."""
    return f"{block.index:02}-{_UNSAFE.sub('_', block.name)[:_MOST_NAME_LEN]}.raw"


class BlockFolder:
    """A folder that appears when all is in it, or not at all. Use it as a context manager.

    Args:
        path: where it is to be: nothing, or an empty folder.

    Raises:
        OutputRefusedError: something is there.
        OutputError: it cannot be made there.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        target = check_folder(self.path)
        self._place = target
        self._draft = target.parent / f".{target.name[:_MOST_NAME_LEN]}.qmig-{os.urandom(8).hex()}"
        try:
            self._draft.mkdir()
        except OSError as error:
            raise output_error(self.path, "cannot make a folder there", error) from error

    def __enter__(self) -> BlockFolder:
        return self

    def __exit__(self, *_error: object) -> None:
        from shutil import rmtree

        rmtree(self._draft, ignore_errors=True)

    def write_block(
        self,
        block: RamBlock,
        content: ContentSource,
        *,
        progress: Progress | None = None,
    ) -> BlockFile:
        """Write the file of a block.

        Args:
            block: the block.
            content: where its memory comes from.
            progress: told how many bytes of the block have been dealt with.

        Raises:
            MissingPagesError: the capture does not hold a page, and zeros were not asked for.
            StreamError: the payload of a page is damaged.
            OutputError: the file cannot be written.
        """
        name, length = file_name(block), block.used_length
        digest = hashlib.sha256()
        with AtomicFile(self._draft / name, anonymous=False, durable=False) as out:
            out.reserve(length)
            hasher = ThreadChannels(1)  # hashing takes longer than writing
            try:
                for piece in content.contents(block.name, 0, length):
                    if progress is not None:
                        progress(piece.addr)
                    hasher.submit(_hashing(digest, piece))
                    for run in piece.runs:
                        out.pwritev(run.buffers, run.addr)
                hasher.sync()
            finally:
                hasher.close()
            out.commit()
        return BlockFile(block, name, digest.hexdigest())

    def commit(self, manifest: Iterable[bytes]) -> None:
        """Write the manifest and put the folder in its place.

        Args:
            manifest: its bytes, in pieces.

        Raises:
            OutputError: it cannot be put there.
        """
        try:
            with (self._draft / MANIFEST_NAME).open("xb") as file:
                file.writelines(manifest)
            self._draft.rename(self._place)
        except OSError as error:
            raise output_error(self.path, "cannot put the folder in its place", error) from error


def check_folder(path: str) -> Path:
    """Look whether a folder can appear at a path; return it with symbolic links followed.

    Raises:
        OutputRefusedError: something is there that is no empty folder.
        OutputError: it cannot be made there.
    """
    place = Path(path)
    try:
        if place.is_dir():
            if any(place.iterdir()):
                raise OutputRefusedError(
                    "is a folder with files in it", path=path, hint="name a new one"
                )
            return place.resolve()
    except OSError as error:
        raise output_error(path, "cannot write there", error) from error
    target = check_target(path.rstrip("/") or path)
    return target.folder / target.name


def _hashing(digest: Any, piece: Content) -> Job:  # noqa: ANN401  # as below
    return lambda _channel: lambda: _hash(digest, piece)


def _hash(digest: Any, piece: Content) -> None:  # noqa: ANN401  # as below
    at = piece.addr
    for run in piece.runs:
        _hash_zeros(digest, run.addr - at)
        at = run.addr
        for buffer in run.buffers:
            digest.update(buffer)
        at += buffers_len(run.buffers)
    _hash_zeros(digest, piece.addr + piece.length - at)


def _hash_zeros(digest: Any, length: int) -> None:  # noqa: ANN401  # hashlib's objects have no type
    while length:
        step = min(length, len(_ZEROS))
        digest.update(_ZEROS[:step])
        length -= step


def chosen_blocks(blocks: Sequence[RamBlock], names: Sequence[str]) -> list[RamBlock]:
    """Return the blocks of these names, or all where there are none.

    Raises:
        OutputRefusedError: there is no such block.
    """
    known = {block.name: block for block in blocks}
    for name in names:
        if name not in known:
            listed = ", ".join(map(repr, known))
            raise OutputRefusedError(f"there is no such RAM block; there are {listed}", path=name)
    return [known[name] for name in names] if names else list(blocks)
