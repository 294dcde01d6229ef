"""The fixtures as tests use them: by name, unpacked once a session, with holes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from fixtures.library import Fixture, load_manifest, unpack

FIXTURES: Final[Mapping[str, Fixture]] = load_manifest()


class Corpus:
    """The unpacked files of all fixtures, in one folder.

    Args:
        directory: where they are written.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._unpacked: dict[str, list[Path]] = {}

    def files(self, name: str) -> list[Path]:
        """Return the files of a fixture in the manifest's order; they must not be changed."""
        if name not in self._unpacked:
            self._unpacked[name] = unpack(FIXTURES[name], self.directory)
        return list(self._unpacked[name])

    def file_of_role(self, name: str, role: str) -> list[Path]:
        """Return a fixture's files of one role."""
        return [
            path
            for file, path in zip(FIXTURES[name].files, self.files(name), strict=True)
            if file.role == role
        ]
