"""`qmig devices`: the state of devices. The options are declared in `qmig.cli.devices_options`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from qmig.capture.capture import open_capture
from qmig.cli.devices_request import DevicesOptions, files_and_names
from qmig.cli.guard import UsageError, code_of
from qmig.cli.output import Output
from qmig.devices import open_devices
from qmig.devices.facts import facts_at
from qmig.devices.live_facts import LIVE_FACTS
from qmig.render.errors import show_error
from qmig.render.progress import SurveyProgress
from qmig.render.report_devices import Chosen, json_pieces

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qmig.capture.capture import Capture
    from qmig.devices import Devices
    from qmig.devices.tree import Node
    from qmig.errors import QmigError


def devices(options: DevicesOptions) -> int:
    """Show the state of devices; return the exit code.

    Raises:
        SourceError: a file cannot be read, or is no migration stream.
        StreamError: the wrapping of a file is damaged.
        UsageError: the output file exists, or nothing has the name that was given.
    """
    files, names = files_and_names(options.arguments)
    names += options.select
    output = Output(options.output, force=options.force, inputs=files)
    with open_capture(
        *files, page_size_len=options.page_size_len, offset=options.offset, keep_all=True
    ) as capture:
        with SurveyProgress(quiet=options.quiet) as progress:
            capture.progress = progress
            found = open_devices(capture)
        live = _live(capture, names)
        chosen = [Chosen(device) for device in found]
        if names:
            chosen = _chosen(found, [name for name in names if name not in live])
        with output:
            _write(options, capture, found, chosen, output, live=live if names else None)
        errors: list[QmigError] = [*capture.errors]
        errors += [one.device.error for one in chosen if one.device.error is not None]
    for error in errors:
        show_error(str(error))
    return code_of(errors)


def _live(capture: Capture, names: Sequence[str]) -> list[str]:
    """Return those of the names that are live sections of a capture."""
    there = {row.idstr for row in capture.stream.sections.rows}
    return [name for name in names if name in LIVE_FACTS and name in there]


def _chosen(found: Devices, names: Sequence[str]) -> list[Chosen]:
    chosen: list[Chosen] = []
    for name in names:
        before = len(chosen)
        for device, node in found.select(name):
            nodes: Sequence[Node] | None = None if node is device.tree else [node]
            chosen.append(Chosen(device, nodes))
        if len(chosen) == before:
            for device, path in found.named_in(name):
                facts = facts_at(device, path)
                chosen += [Chosen(device, (), facts)] if facts else []
        if len(chosen) == before:
            raise UsageError(
                f"{name!r} is no file, and no device or field has this name; "
                "without a name all devices are listed"
            )
    return chosen


def _write(
    options: DevicesOptions,
    capture: Capture,
    found: Devices,
    chosen: Sequence[Chosen],
    output: Output,
    *,
    live: Sequence[str] | None,
) -> None:
    """Write what was chosen, and live sections; all of them for None."""
    if options.sizes:
        chosen = sorted(chosen, key=lambda one: -one.device.length)
    if options.json:
        for piece in json_pieces(
            capture, found, chosen, live=list(LIVE_FACTS) if live is None else live
        ):
            output.write(piece)
        return
    from qmig.render.text import bold, plain
    from qmig.render.text_devices import device_lines, live_parts, table_lines

    heading = bold if output.to_terminal and not os.environ.get("NO_COLOR") else plain
    if live is None:
        output.write_lines(
            table_lines(
                capture, found, heading=heading, offsets=options.offsets, by_size=options.sizes
            )
        )
    else:
        output.write_lines(device_lines(chosen, heading=heading, offsets=options.offsets))
        for at, part in enumerate(live_parts(capture, live, heading=heading)):
            output.write_lines([""] if chosen or at else [])
            output.write_lines(part)
