"""The files of one save: all of them, or none."""

import errno
from pathlib import Path

import pytest

from qmig.errors import OutputError, OutputRefusedError
from qmig.migrate.draft import Draft
from qmig.migrate.output_set import AtomicSet

OLD = b"what was there"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(params=["anonymous", "named"])
def anonymous(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "anonymous")


def set_paths(folder: Path) -> list[Path]:
    return [folder / name for name in ("main", "channel-1", "channel-2")]


def write_set(folder: Path, data: bytes, *, force: bool, anonymous: bool = True) -> None:
    with AtomicSet(force=force, anonymous=anonymous) as outputs:
        for path in set_paths(folder):
            outputs.open(path).append(data + path.name.encode())
        outputs.commit()


def read_set(folder: Path) -> list[bytes]:
    return [path.read_bytes().removesuffix(path.name.encode()) for path in set_paths(folder)]


def test_set_appears_as_a_whole(tmp_path: Path, anonymous: bool) -> None:
    write_set(tmp_path, b"first", force=False, anonymous=anonymous)
    assert read_set(tmp_path) == [b"first"] * 3
    with pytest.raises(OutputRefusedError, match="main: exists already"):
        write_set(tmp_path, b"second", force=False, anonymous=anonymous)
    write_set(tmp_path, b"second", force=True, anonymous=anonymous)
    assert read_set(tmp_path) == [b"second"] * 3
    assert names(tmp_path) == ["channel-1", "channel-2", "main"]


@pytest.mark.parametrize("step", ["retire_old", "publish_new", "sync_folder"])
@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("failure", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()])
def test_set_that_fails_is_undone(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    anonymous: bool,
    step: str,
    which: int,
    failure: BaseException,
) -> None:
    write_set(tmp_path, b"first", force=True)
    inodes = [path.stat().st_ino for path in set_paths(tmp_path)]
    real = getattr(Draft, step)

    def fail(draft: Draft) -> None:
        real(draft)  # an exception out of a signal handler can come after the deed
        if draft.target.name == set_paths(tmp_path)[which].name:
            raise failure

    monkeypatch.setattr(Draft, step, fail)
    expected = OutputError if isinstance(failure, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        write_set(tmp_path, b"second", force=True, anonymous=anonymous)
    assert read_set(tmp_path) == [b"first"] * 3
    assert [path.stat().st_ino for path in set_paths(tmp_path)] == inodes
    assert names(tmp_path) == ["channel-1", "channel-2", "main"]


def test_set_does_not_overwrite_what_appears_meanwhile(tmp_path: Path) -> None:
    with AtomicSet() as outputs:
        for path in set_paths(tmp_path):
            outputs.open(path)
        (tmp_path / "channel-1").write_bytes(OLD)
        with pytest.raises(OutputRefusedError, match="channel-1: was made by someone else"):
            outputs.commit()
    assert names(tmp_path) == ["channel-1"]
    assert (tmp_path / "channel-1").read_bytes() == OLD


def test_set_does_not_move_a_folder_away(tmp_path: Path) -> None:
    with AtomicSet(force=True) as outputs:
        for path in set_paths(tmp_path):
            outputs.open(path)
        (tmp_path / "channel-1").mkdir()
        with pytest.raises(OutputRefusedError, match="channel-1: is no file any more"):
            outputs.commit()
    assert names(tmp_path) == ["channel-1"]


def test_set_of_one_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "main").write_bytes(OLD)
    with AtomicSet(force=True) as outputs:
        outputs.open(tmp_path / "main").append(b"new")
        outputs.commit()
    assert (tmp_path / "main").read_bytes() == b"new"


def test_set_names_no_file_twice(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("main")
    with AtomicSet() as outputs:
        outputs.open(tmp_path / "main")
        with pytest.raises(OutputRefusedError, match=r"link: is the same file as .*main"):
            outputs.open(tmp_path / "link")


@pytest.mark.parametrize("which", [0, 1, 2])
def test_set_that_is_complete_is_tidied_up_whatever_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anonymous: bool, which: int
) -> None:
    write_set(tmp_path, b"first", force=True)
    real = Draft.drop_old
    stops = [KeyboardInterrupt()]

    def stop_once(draft: Draft) -> None:
        if draft.target.name == set_paths(tmp_path)[which].name and stops:
            raise stops.pop()
        real(draft)

    monkeypatch.setattr(Draft, "drop_old", stop_once)
    with pytest.raises(KeyboardInterrupt):
        write_set(tmp_path, b"second", force=True, anonymous=anonymous)
    assert read_set(tmp_path) == [b"second"] * 3
    assert names(tmp_path) == ["channel-1", "channel-2", "main"]


def test_old_file_that_cannot_be_put_back_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(draft: Draft) -> None:
        raise OSError(errno.EIO, "Input/output error")

    real = Draft.restore_old

    def fail_for_one(draft: Draft) -> None:
        if draft.target.name == "channel-1":
            fail(draft)
        real(draft)

    write_set(tmp_path, b"first", force=True)
    monkeypatch.setattr(Draft, "publish_new", fail)
    monkeypatch.setattr(Draft, "restore_old", fail_for_one)
    with pytest.raises(OutputError) as caught:
        write_set(tmp_path, b"second", force=True)
    (old,) = (name for name in names(tmp_path) if name.startswith(".channel-1.qmig-"))
    assert str(caught.value) == (
        f"{tmp_path / 'channel-1'}: the save has failed, and its changes to names cannot be "
        f"undone: Input/output error; what was there is {tmp_path / old}"
    )
    assert names(tmp_path) == [old, "channel-2", "main"]
    assert (tmp_path / old).read_bytes() == b"firstchannel-1"


def test_main_file_is_only_there_with_its_own_channels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anonymous: bool
) -> None:
    """After each step a power cut could come: a main file beside others would read as a set."""
    seen = []

    def look_after(step: str) -> None:
        real = getattr(Draft, step)

        def change(draft: Draft) -> None:
            real(draft)
            seen.append(
                [path.read_bytes()[:6] if path.exists() else None for path in set_paths(tmp_path)]
            )

        monkeypatch.setattr(Draft, step, change)

    write_set(tmp_path, b"first ", force=True)
    look_after("retire_old")
    look_after("publish_new")
    write_set(tmp_path, b"second", force=True, anonymous=anonymous)
    old, new = b"first ", b"second"
    assert seen == [
        [None, old, old],
        [None, None, old],
        [None, None, None],
        [None, None, new],
        [None, new, new],
        [new, new, new],
    ]
