"""From a capture to the versioned document that both the text and the JSON are made of.

The document is described in `docs/json/inspect.md`, and by a JSON schema beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qmig._version import __version__
from qmig.capture.incoming import incoming
from qmig.capture.releases import describe_releases
from qmig.capture.remarks import remarks
from qmig.capture.requirements import Kind, requirements
from qmig.errors import StreamError
from qmig.render.document import Absent, Document, known, make
from qmig.render.report_ram import channel_rows, ram_object
from qmig.render.report_stream import resumed_object, section_rows, stream_object
from qmig.render.words import pure

if TYPE_CHECKING:
    from collections.abc import Collection

    from qmig.capture.capture import Capture
    from qmig.capture.container import Container, LibvirtImage
    from qmig.capture.requirements import Requirement
    from qmig.errors import QmigError

SCHEMA: Final = "qmig.inspect/1"
PARTS: Final = ("sections", "ram", "channels")
_MOST_NAME_LEN: Final = 300
_NOT_CHOSEN: Final = Absent("not asked for")
_NO_MAIN: Final = "the main stream is missing"


def build_report(capture: Capture, parts: Collection[str] = ()) -> Document:
    """Return the document about a capture.

    Args:
        capture: the capture; it is surveyed now, if it was not before.
        parts: which of `PARTS` to tell of, alone; empty: all of the report.

    Raises:
        SourceError: a file cannot be read.
    """
    survey = capture.survey
    whole = not parts
    walk = survey.walk
    asks = requirements(capture) if whole else []
    return make(
        schema=SCHEMA,
        qmig_version=__version__,
        files=[_file(container) for container in capture.files],
        stream=(known(stream_object(capture), _NO_MAIN) if whole else _NOT_CHOSEN),
        written_by=_written_by(capture) if whole else _NOT_CHOSEN,
        to_load=_to_load(capture, asks) if whole else _NOT_CHOSEN,
        sections=(
            known(section_rows(walk) if walk else None, _NO_MAIN)
            if whole or "sections" in parts
            else _NOT_CHOSEN
        ),
        resumed=(
            [resumed_object(at) for at in zip(capture.recovery_files, survey.resumed, strict=False)]
            if whole or "sections" in parts
            else _NOT_CHOSEN
        ),
        ram=(known(ram_object(capture), _NO_MAIN) if whole or "ram" in parts else _NOT_CHOSEN),
        channels=channel_rows(capture) if whole or "channels" in parts else _NOT_CHOSEN,
        remarks=[
            make(
                text=pure(remark.text),
                path=known(remark.path and pure(remark.path), "it is about the whole capture"),
                offset=known(remark.offset, "it is about no single byte"),
            )
            for remark in remarks(capture)
        ]
        if whole
        else _NOT_CHOSEN,
        errors=sorted(
            (error_object(error) for error in capture.errors),
            key=lambda error: (error["path"] or "", error["offset"] or 0),
        ),
    )


def error_object(error: QmigError) -> Document:
    """Return an error as the document has it."""
    if not isinstance(error, StreamError):
        nothing = Absent("it is about no single byte")
        return make(
            kind=type(error).__name__,
            text=pure(str(error)),
            path=known(getattr(error, "path", None), "not known"),
            offset=nothing,
            record=nothing,
            field=nothing,
            expected=nothing,
            found=nothing,
            hint=known(getattr(error, "hint", None), "there is none"),
        )
    return make(
        kind=type(error).__name__,
        text=pure(str(error)),
        path=known(error.path and pure(error.path), "not known"),
        offset=error.offset,
        record=pure(error.record),
        field=known(error.field and pure(error.field), "it is about the record as a whole"),
        expected=pure(error.expected),
        found=pure(error.found),
        hint=known(error.hint and pure(error.hint), "there is none"),
    )


# -- files ----------------------------------------------------------------------------------------


def _file(container: Container) -> Document:
    size = container.outer.end()
    end = container.source.end()
    not_ended = "standard input was not read to its end"
    return make(
        path=pure(container.path),
        role=container.role.value,
        size=known(size, not_ended),
        layers=[_layer(container, name) for name in container.layers],
        compressed=container.compressed,
        stream_offset=container.stream_offset,
        data_length=known(
            None if end is None else end - container.stream_offset,
            "the data was not read to its end",
        ),
    )


def _layer(container: Container, name: str) -> Document:
    image = container.libvirt
    if name == "libvirt" and image is not None:
        return _libvirt(image)
    if name.endswith("in front"):
        length = sum(s.length for s in container.spans if s.record == "bytes before the stream")
        return {"kind": "bytes in front", "length": length}
    return {"kind": "compressor", "codec": name}


def _libvirt(image: LibvirtImage) -> Document:
    return make(
        kind="libvirt",
        format=image.format_name,
        version=image.header.version,
        was_running=bool(image.header.was_running),
        partial=image.partial,
        big_endian=image.big_endian,
        domain=known(_domain_name(image.xml), "the XML has no name"),
        xml_length=len(image.xml),
        cookie_length=known(
            None if image.cookie is None else len(image.cookie), "the image has no cookie"
        ),
        padding_length=image.padding_len,
    )


def _domain_name(xml: bytes) -> str | None:
    """Return what stands in the first `name` element, without trusting the XML to be whole."""
    _, found, rest = xml.partition(b"<name>")
    name, closed, _ = rest[:_MOST_NAME_LEN].partition(b"</name>")
    return pure(name.decode("utf-8", "surrogateescape")) if found and closed else None


# -- who wrote it, and what loads it --------------------------------------------------------------


def _written_by(capture: Capture) -> Document:
    return {
        "releases": list(capture.releases),
        "text": describe_releases(capture.releases),
        "evidence": [
            {
                "what": pure(piece.what),
                "leaves": describe_releases(_sorted_like(piece.releases)),
            }
            for piece in capture.evidence
        ],
    }


def _sorted_like(releases: Collection[str]) -> list[str]:
    return sorted(releases, key=lambda release: [int(part) for part in release.split(".")])


def _to_load(capture: Capture, asks: list[Requirement]) -> Document:
    way = incoming(capture)
    uri = None if way.uri is None else pure(way.uri)
    qmp: list[Document] = []
    hmp: list[str] = []
    capabilities = [ask.name for ask in asks if ask.kind is Kind.CAPABILITY]
    if capabilities:
        states = [{"capability": pure(name), "state": True} for name in capabilities]
        qmp.append(_execute("migrate-set-capabilities", {"capabilities": states}))
        hmp += [f"migrate_set_capability {pure(name)} on" for name in capabilities]
    parameters = {
        ask.name: ask.value for ask in asks if ask.kind is Kind.PARAMETER and ask.value is not None
    }
    if parameters:
        qmp.append(_execute("migrate-set-parameters", parameters))
        hmp += [f"migrate_set_parameter {name} {value}" for name, value in parameters.items()]
    if uri is not None:
        qmp.append(_execute("migrate-incoming", {"uri": uri}))
        quoted = uri.replace("\\", "\\\\").replace('"', '\\"')
        hmp.append(f'migrate_incoming "{quoted}"')
    return make(
        requirements=[
            make(
                kind=ask.kind.value,
                name=pure(ask.name),
                value=known(
                    pure(ask.value) if isinstance(ask.value, str) else ask.value,
                    "it has no value, or the capture does not tell it",
                ),
                reason=pure(ask.reason),
            )
            for ask in asks
        ],
        incoming=make(uri=known(uri, way.reason), note=way.reason),
        virsh=known(way.virsh and pure(way.virsh), "it is no whole libvirt image"),
        qmp=qmp,
        hmp=hmp,
    )


def _execute(command: str, arguments: Document) -> Document:
    return {"execute": command, "arguments": arguments}
