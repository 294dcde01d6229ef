"""What `qmig save` is asked for, and the plain command lines that need no option parser.

Importing the parser takes longer than many a save. Anything that is not plain is left to it, all
that is wrong among that, so that there is one place for help and errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from qmig.cli.plain import read_plain

if TYPE_CHECKING:
    from collections.abc import Sequence

# Option -> format of the output.
_OUTPUTS: Final = {
    "--fixed-ram": "mapped-ram",
    "--mapped-ram": "mapped-ram",
    "--stream": "stream",
    "--multifd": "multifd",
}
_FLAGS: Final = ("--direct-io", "--force", "--json", "--quiet")
_CHANNELS: Final = "--channels"
_RAM: Final = "--ram"
_DEVICES_FROM: Final = "--devices-from"
_WITH_VALUE: Final = (*_OUTPUTS, _CHANNELS, _RAM, _DEVICES_FROM)
PLAIN_OPTIONS: Final = (*_FLAGS, *_WITH_VALUE)
"""The options that a plain command line may have."""


class SyntheticRequest(NamedTuple):
    """What was asked for of the synthetic guest; fields are named as the options."""

    seed: int | None = None
    size: int | None = None
    zero_share: float | None = None
    constant_share: float | None = None
    random_share: float | None = None
    dirty_rate: int | None = None
    workload: str | None = None
    max_rounds: int | None = None
    downtime_limit: int | None = None
    auto_converge: bool | None = None


class SaveRequest(NamedTuple):
    """What `qmig save` was asked for; None where an option was not given."""

    sources: list[str]
    outputs: dict[str, str]  # format -> OUT
    dumps: list[tuple[str, str]]
    devices_from: list[str]
    channels: int | None = None
    direct_io: bool = False
    generation: str | None = None
    compression: str | None = None
    flush_after_each_section: bool = False
    xbzrle_cache_len: int | None = None
    compress: bool = False
    libvirt: str | None = None
    libvirt_xml: str | None = None
    libvirt_cookie: str | None = None
    machine: str | None = None
    page_size_len: int | None = None
    offset: int | None = None
    synthetic: SyntheticRequest = SyntheticRequest()
    max_bandwidth: int | None = None
    force: bool = False
    json: bool = False
    quiet: bool = False


def plain_request(arguments: Sequence[str]) -> SaveRequest | None:
    """Read a command line of `PLAIN_OPTIONS` and sources.

    Args:
        arguments: what stands behind `save`.

    Returns:
        What was asked for; None where the option parser must look at it.
    """
    line = read_plain(arguments, flags=_FLAGS, options=_WITH_VALUE)
    if not arguments or line is None:
        return None
    request = SaveRequest(line.values, {}, [], [])
    channels: int | None = None
    for option, value in line.options:
        if option == _CHANNELS:
            if not _is_count(value):
                return None
            channels = int(value)
        elif not _note(request, option, value):
            return None
    return request._replace(
        channels=channels,
        direct_io="--direct-io" in line.flags,
        force="--force" in line.flags,
        json="--json" in line.flags,
        quiet="--quiet" in line.flags,
    )


def _note(request: SaveRequest, option: str, value: str) -> bool:
    """Enter an option that has a file for its value; False where it is not plain."""
    if option in _OUTPUTS:
        request.outputs[_OUTPUTS[option]] = value
    elif option == _DEVICES_FROM:
        request.devices_from.append(value)
    else:
        name, _, path = value.partition("=")
        if not name or not path:
            return False
        request.dumps.append((name, path))
    return True


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdecimal() and (text == "0" or not text.startswith("0"))
