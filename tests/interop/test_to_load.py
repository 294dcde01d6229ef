"""What `inspect` says is needed to load a capture is all that a real QEMU needs.

The commands of the report are given to a QEMU as they stand there; the fixture's manifest gives
the devices alone, none of the migration's settings.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fixtures.recorder.errors import RecordError
from fixtures.recorder.firmware.image import load_image
from fixtures.recorder.machine import Machine
from fixtures.recorder.recipe import FIRMWARE_NAME
from fixtures.recorder.replay import loaded
from tests.cli.reports import report_of
from tests.conftest import CaptureFiles, FindQemu
from tests.corpus import FIXTURES

Settings = dict[str, Any]

BY_URI = (
    ("qemu-10.0-ordinary", "10.0"),
    ("qemu-10.0-xbzrle", "10.0"),
    ("qemu-10.0-exec-gzip", "10.0"),
    ("qemu-10.0-mapped-plain", "10.0"),
    ("qemu-10.0-mapped-offset", "10.0"),
    ("qemu-10.0-mapped-multifd-live", "11.1"),
    ("qemu-10.0-background-snapshot", "10.0"),
    ("qemu-11.1-uuid", "11.1"),
    ("qemu-11.1-mapped-nothing-shared", "11.1"),
    ("qemu-10.0-mapped-nothing-shared", "11.1"),
    ("qemu-7.2-compress-xbzrle", "7.2"),
    ("qemu-5.2-ordinary", "11.1"),
)
BY_CONNECTIONS = (
    ("qemu-10.0-multifd-zstd", "10.0"),
    ("qemu-10.0-multifd-each-section", "10.0"),
    ("qemu-10.0-multifd-old-machine", "11.1"),
    ("qemu-7.2-multifd-zlib", "7.2"),
    ("qemu-7.2-multifd-none", "11.1"),
    ("qemu-5.2-multifd-zlib", "5.2"),
)

pytestmark = pytest.mark.qemu


@pytest.fixture
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose name is short: the paths of UNIX sockets are."""
    directory = tmp_path_factory.mktemp("d")
    (directory / FIRMWARE_NAME).write_bytes(load_image())
    return directory


def options_of(report: dict[str, Any]) -> dict[str, str]:
    asks = report["to_load"]["requirements"]
    return {ask["name"]: ask["value"] for ask in asks if ask["kind"] == "option"}


def arguments_of(name: str, report: dict[str, Any]) -> list[str]:
    """Return the fixture's devices, with machine, memory, UUID and properties of the report."""
    arguments = list(FIXTURES[name].command[1:])
    options = options_of(report)
    for option, value in (("-machine", options["-M"]), ("-m", options["-m"])):
        at = arguments.index(option) + 1
        _, comma, rest = arguments[at].partition(",")
        arguments[at] = value + (comma + rest if option == "-machine" else "")
    while "-global" in arguments:  # what the source's migration was set to
        at = arguments.index("-global")
        assert arguments[at + 1].startswith("migration.")
        del arguments[at : at + 2]
    if "-uuid" in arguments:
        at = arguments.index("-uuid")
        del arguments[at : at + 2]
    if "-uuid" in options:
        arguments += ["-uuid", options["-uuid"]]
    for ask in report["to_load"]["requirements"]:
        if ask["kind"] == "property":
            arguments += ["-global", f"migration.{ask['name']}={ask['value']}"]
    return arguments


@pytest.mark.parametrize(("name", "release"), BY_URI)
def test_qmp_of_the_report_loads_the_file(
    name: str, release: str, capture_files: CaptureFiles, find_qemu: FindQemu, directory: Path
) -> None:
    report = report_of(capture_files(name))
    arguments = [*arguments_of(name, report), "-S", "-incoming", "defer"]
    with Machine(find_qemu(release), arguments, directory, label="destination") as machine:
        for command in report["to_load"]["qmp"]:
            machine.execute(command["execute"], command["arguments"])
        machine.wait_migrated()


@pytest.mark.parametrize("name", ["qemu-10.0-ordinary", "qemu-10.0-mapped-offset"])
def test_hmp_of_the_report_loads_the_file(
    name: str, capture_files: CaptureFiles, find_qemu: FindQemu, directory: Path
) -> None:
    report = report_of(capture_files(name))
    arguments = [*arguments_of(name, report), "-S", "-incoming", "defer"]
    with Machine(find_qemu("10.0"), arguments, directory, label="destination") as machine:
        for line in report["to_load"]["hmp"]:
            assert machine.monitor_line(line).strip() == ""
        machine.wait_migrated()


def settings_of(report: dict[str, Any], kind: str) -> Settings:
    asks = report["to_load"]["requirements"]
    return {ask["name"]: ask["value"] for ask in asks if ask["kind"] == kind}


@pytest.mark.parametrize(("name", "release"), BY_CONNECTIONS)
def test_settings_of_the_report_load_the_connections(
    name: str, release: str, capture_files: CaptureFiles, find_qemu: FindQemu, directory: Path
) -> None:
    paths = capture_files(name)
    report = report_of(paths)
    with loaded(
        find_qemu(release),
        arguments_of(name, report),
        paths,
        directory,
        capabilities=settings_of(report, "capability"),
        parameters=settings_of(report, "parameter"),
    ) as machine:
        assert machine.migration()["status"] == "completed"


def without(kind: str, name: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def drop(report: dict[str, Any]) -> dict[str, Any]:
        asks = report["to_load"]["requirements"]
        left = [ask for ask in asks if (ask["kind"], ask["name"]) != (kind, name)]
        assert len(left) == len(asks) - 1
        report["to_load"]["requirements"] = left
        return report

    return drop


@pytest.mark.parametrize(
    ("name", "release", "drop"),
    [
        ("qemu-10.0-mapped-plain", "10.0", without("capability", "mapped-ram")),
        ("qemu-7.2-compress", "7.2", without("capability", "compress")),
        ("qemu-10.0-shared", "10.0", without("capability", "x-ignore-shared")),
    ],
)
def test_what_is_asked_for_is_needed(
    name: str,
    release: str,
    drop: Callable[[dict[str, Any]], dict[str, Any]],
    capture_files: CaptureFiles,
    find_qemu: FindQemu,
    directory: Path,
) -> None:
    """Without one of the settings the same QEMU refuses the file."""
    paths = capture_files(name)
    report = drop(report_of(paths))
    with (
        pytest.raises(RecordError),
        loaded(
            find_qemu(release),
            arguments_of(name, report),
            paths,
            directory,
            capabilities=settings_of(report, "capability"),
        ),
    ):
        pass
