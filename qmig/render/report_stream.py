"""The parts of the document about the main stream: what it is, its sections and commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qmig.render.document import Absent, Document, known, make
from qmig.render.words import pure

if TYPE_CHECKING:
    from typing import Any

    from qmig.capture.capture import Capture
    from qmig.capture.container import Container
    from qmig.capture.sections import Command, Section
    from qmig.capture.stream import StreamWalk

_NO_CONFIGURATION = "the stream has no configuration section"


def stream_object(capture: Capture) -> Document | None:
    """Return what the main stream is, or None where there is none."""
    walk = capture.survey.walk
    if walk is None:
        return None
    configuration = walk.configuration
    size = walk.page_size
    not_read = "the stream ends before it"
    return make(
        offset=walk.start_offset,
        length=stream_end(walk) - walk.start_offset,
        header_version=known(walk.header and walk.header.version, not_read),
        machine=known(configuration and pure(configuration.machine), _NO_CONFIGURATION),
        page_size=(
            {"length": size.length, "origin": size.origin}
            if size
            else Absent("the stream ends before it was needed")
        ),
        capabilities=(
            [pure(name) for name in configuration.capabilities or ()]
            if configuration
            else Absent(_NO_CONFIGURATION)
        ),
        uuid=known(
            str(configuration.uuid) if configuration and configuration.uuid else None,
            "the stream does not record it (capability validate-uuid is off)",
        ),
        run_state=known(
            capture.survey.run_state,
            "the stream has no globalstate section, or was not read as far as that",
        ),
        footers=known(walk.footers, "no section was read to its end"),
        configuration=(
            {"offset": configuration.offset, "length": configuration.length}
            if configuration
            else Absent(_NO_CONFIGURATION)
        ),
        commands=command_rows(walk.commands),
        eos_words=walk.counters.eos_words,
        flush_words=walk.counters.flush_words,
        eof_offset=known(walk.eof_offset, not_read),
        vmdescription=_vmdescription(walk),
        behind_end=_behind_end(walk),
        not_read=_not_read(walk),
    )


def stream_end(walk: StreamWalk) -> int:
    """Return the offset behind the last byte that belongs to the stream."""
    return walk.trailing.offset if walk.trailing else walk.end_offset


def section_rows(walk: StreamWalk) -> list[Document]:
    """Return the sections in the order of the stream, the PARTs of one handler as one row."""
    return [_section(row) for row in walk.sections.rows]


def resumed_object(resumed: tuple[Container, StreamWalk]) -> Document:
    """Return what a connection that resumed a migration holds."""
    container, walk = resumed
    return {
        "file": pure(container.path),
        "commands": command_rows(walk.commands),
        "sections": section_rows(walk),
    }


def _section(row: Section) -> Document:
    return {
        "offset": row.offset,
        "length": row.length,
        "type": row.word,
        "count": row.count,
        "section_id": row.section_id,
        "name": pure(row.idstr),
        "instance_id": row.instance_id,
        "version_id": row.version_id,
        "extent": row.extent,
        "complete": row.complete,
        "in_package": row.in_package,
    }


def command_rows(commands: list[Command]) -> list[Document]:
    """Return commands in their order; equal ones that follow one another without gap as one row."""
    rows: list[Document] = []
    for command in commands:
        last = rows[-1] if rows else None
        if (
            last is not None
            and last["name"] == command.name
            and last["offset"] + last["length"] == command.offset
        ):
            last["count"] += 1
            last["length"] += command.length
            last["detail"] = {}
            continue
        rows.append(
            {
                "offset": command.offset,
                "length": command.length,
                "name": command.name,
                "number": command.number,
                "count": 1,
                "detail": {key: _plain(value) for key, value in command.detail.items()},
            }
        )
    return rows


def _plain(value: Any) -> Any:  # noqa: ANN401  # what a command's payload says
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, str):
        return pure(value)
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _vmdescription(walk: StreamWalk) -> Document | Absent:
    if walk.eof_offset is None:
        return Absent("the stream ends before it")
    length = stream_end(walk) - walk.eof_offset - 1
    if length == 0:
        return Absent("there is none behind EOF (suppressed, or a postcopy migration)")
    description = walk.vmdescription
    reason = f"its JSON cannot be read: {walk.vmdescription_error or 'it ends too early'}"
    return make(
        offset=walk.eof_offset + 1,
        length=length,
        devices=len(description.devices) if description else Absent(reason),
    )


def _behind_end(walk: StreamWalk) -> Document | Absent:
    trailing = walk.trailing
    if trailing is None:
        return Absent("nothing stands behind the stream")
    return {
        "offset": trailing.offset,
        "length": trailing.length,
        "zeros": trailing.zeros,
        "looked_at_length": trailing.looked_at_len,
    }


def _not_read(walk: StreamWalk) -> Document | Absent:
    if walk.error is None:
        return Absent("all of it was read")
    end = walk.source.end()
    return {"offset": walk.end_offset, "length": max(0, (end or 0) - walk.end_offset)}
