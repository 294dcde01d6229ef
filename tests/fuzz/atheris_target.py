"""A target for coverage-guided fuzzing with atheris; see README.md for how to run it.

`python -m tests.fuzz.atheris_target [--entry NAME] CORPUS [libFuzzer's options]`. An input is a
capture as `tests.fuzz.gapped.packed` writes it; a corpus that is empty gets the built captures.
What breaks the contract is written by libFuzzer as `crash-HASH`, which is such a capture.
"""

import sys
import tempfile
from pathlib import Path
from typing import Final

import atheris

with atheris.instrument_imports(include=["qmig"]):
    from tests.fuzz.contract import ENTRY_POINTS, Contract

from tests.fuzz.built import built
from tests.fuzz.gapped import packed, unpacked
from tests.fuzz.guard import limited_time

_MOST_LEN: Final = 8192  # each input is read some times a second: small ones find more
_OPTIONS: Final = (
    "-timeout=60",  # of the wall; what a processor may take is limited by ourselves
    "-rss_limit_mb=512",
    f"-max_len={_MOST_LEN}",
    "-len_control=0",
)


def corpus_of(arguments: list[str]) -> Path | None:
    """Return the first folder that libFuzzer is given."""
    folders = [argument for argument in arguments if not argument.startswith("-")]
    return Path(folders[0]) if folders else None


def fill(corpus: Path) -> None:
    """Write the built captures into an empty corpus."""
    corpus.mkdir(parents=True, exist_ok=True)
    if any(corpus.iterdir()):
        return
    for name, files in built():
        if len(packed(files)) <= _MOST_LEN:
            (corpus / f"{name.replace(' ', '-')}.bin").write_bytes(packed(files))


def main() -> None:
    """Fuzz one entry point, or all in turn of each input."""
    arguments = sys.argv[1:]
    entries = list(ENTRY_POINTS)
    if arguments[:1] == ["--entry"]:
        entries = arguments[1].split(",")
        arguments = arguments[2:]
    corpus = corpus_of(arguments)
    if corpus is not None:
        fill(corpus)
    with tempfile.TemporaryDirectory(prefix="qmig-fuzz-") as folder:
        contract = Contract(Path(folder))

        def test_one_input(data: bytes) -> None:
            paths = contract.write(unpacked(data))
            for entry in entries:
                with limited_time():
                    contract.hold(entry, paths)

        names = {option.partition("=")[0] for option in arguments}
        added = [option for option in _OPTIONS if option.partition("=")[0] not in names]
        atheris.Setup([sys.argv[0], *added, *arguments], test_one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
