"""The part of the text that says what a QEMU must be and must set to load a capture."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from qmig.render.table import pairs
from qmig.render.words import WIDTH, harmless, wrapped

if TYPE_CHECKING:
    from qmig.render.document import Document

_INDENT = "  "
_PASTE = "    "


def load_lines(report: Document) -> list[str]:
    """Return what a QEMU needs, with the reason of each, and the same ready to paste."""
    load = report["to_load"]
    lines = pairs([(_ask_text(ask), ask["reason"]) for ask in _sorted(load["requirements"])])
    if load["virsh"] is not None:
        lines += ["", f"{_INDENT}With libvirt:", _PASTE + harmless(load["virsh"])]
    told = any(ask["kind"] == "transport" for ask in load["requirements"])
    if load["incoming"]["uri"] is None and not told:
        lines += ["", *wrapped(f"No URI: {load['incoming']['note']}.", first=_INDENT, rest=_INDENT)]
    options = _options(load["requirements"])
    if options:
        lines += ["", f"{_INDENT}Command line of the QEMU that loads it, among its devices:"]
        lines += _command_line([*options, "-incoming defer"])
    if load["qmp"]:
        lines += ["", f"{_INDENT}Then as QMP:"]
        lines += [_PASTE + harmless(line) for command in load["qmp"] for line in _qmp(command)]
        lines += ["", f"{_INDENT}or as HMP:"]
        lines += [_PASTE + harmless(line) for line in load["hmp"]]
    return lines


def _sorted(asks: list[Document]) -> list[Document]:
    order = ("release", "option", "property", "capability", "parameter", "transport")
    return sorted(asks, key=lambda ask: order.index(ask["kind"]))


def _ask_text(ask: Document) -> str:
    name, value, kind = ask["name"], ask["value"], ask["kind"]
    if kind in ("capability", "parameter"):
        text = "on" if value is True else "not known" if value is None else value
        return f"{name} = {text}"
    if kind == "property":
        return f"{name} = {value}"
    if kind == "transport":
        return str(name)
    if kind == "release":
        return release_text(str(value))
    return f"{name} {value}"


def release_text(releases: str) -> str:
    """Return releases of QEMU in words."""
    return "any QEMU" if releases == "any" else f"QEMU {releases}"


def _options(asks: list[Document]) -> list[str]:
    from qmig.capture.incoming import quoted

    options = [
        f"{ask['name']} {quoted(str(ask['value']))}" for ask in asks if ask["kind"] == "option"
    ]
    return options + [
        f"-global migration.{ask['name']}={ask['value']}"
        for ask in asks
        if ask["kind"] == "property"
    ]


def _command_line(options: list[str]) -> list[str]:
    lines: list[str] = []
    line = _PASTE
    for option in options:
        piece = harmless(option)
        if line.strip() and len(line) + 1 + len(piece) > WIDTH - 2:
            lines.append(line + " \\")
            line = _PASTE
        line += piece if line == _PASTE else f" {piece}"
    return [*lines, line]


def _qmp(command: Document) -> list[str]:
    """Return a QMP command as lines; QEMU takes line breaks between the parts."""
    one = json.dumps(command)
    if len(_PASTE) + len(one) <= WIDTH:
        return [one]
    name = json.dumps(command["execute"])
    arguments = command["arguments"]
    if list(arguments) == ["capabilities"]:
        rows = [f"  {json.dumps(state)}" for state in arguments["capabilities"]]
        head = f'{{"execute": {name}, "arguments": {{"capabilities": ['
        return [head, *(f"{row}," for row in rows[:-1]), f"{rows[-1]}]}}}}"]
    rows = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in arguments.items()]
    head = f'{{"execute": {name}, "arguments": {{'
    return [head, *(f"{row}," for row in rows[:-1]), f"{rows[-1]}}}}}"]
