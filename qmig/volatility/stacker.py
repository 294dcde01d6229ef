"""What Volatility finds by itself once it is loaded: it tries these on every file."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlparse
from urllib.request import url2pathname

from volatility3.framework import interfaces
from volatility3.framework.layers import intel, physical

from qmig.errors import QmigError, StreamError, WriterError
from qmig.export.page_tables import Paging
from qmig.volatility.guest import GuestRequest, is_capture, open_guest
from qmig.volatility.layer import (
    BELOW_4G,
    CHANNELS,
    FILES,
    OFFSET,
    PAGE_SIZE,
    REASON,
    QmigLayer,
    QmigRefusedLayer,
    option_requirements,
    request_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    Progress = Callable[[float, str], None] | None

_log = logging.getLogger(__name__)
_join = interfaces.configuration.path_join
# Volatility's own reader of QEMU's streams has 10, and Linux, macOS and Windows are found from 34.
_BEFORE_ALL: Final = 1
_BEHIND_ALL: Final = 90
# Volatility has no layer for five levels.
_LAYERS: Final = {
    Paging.FOUR_LEVEL: intel.Intel32e,
    Paging.PAE: intel.IntelPAE,
    Paging.TWO_LEVEL: intel.Intel,
}
# Options of qmig extract: one that there is here as well, and others.
_BELOW_4G: Final = re.compile(r"--below-4g\b")
_OTHERS: Final = re.compile(r"--(place|main-ram|without)\b")


class QmigOptions(interfaces.automagic.AutomagicInterface):
    """The options of `vol` that say what the file alone does not; by itself it does nothing."""

    priority = 5

    @classmethod
    def get_requirements(cls) -> list[interfaces.configuration.RequirementInterface]:
        """Return the options."""
        return option_requirements()


class QmigStacker(interfaces.automagic.StackerLayerInterface):
    """Puts the guest's physical memory on a file that is a capture."""

    stack_order = _BEFORE_ALL

    @classmethod
    def stack(
        cls,
        context: interfaces.context.ContextInterface,
        layer_name: str,
        progress_callback: Progress = None,
    ) -> QmigLayer | QmigRefusedLayer | None:
        """Return the layer, one that refuses for a damaged capture, or None for other files."""
        below = context.layers[layer_name]
        if not isinstance(below, physical.FileLayer):
            return None
        url = urlparse(below.location)
        if url.scheme != "file":
            return None
        path = url2pathname(url.path)
        options = dict(context.config.branch(_join("automagic", QmigOptions.__name__)))
        if options.get(CHANNELS):  # settings that are kept must hold elsewhere, too
            options[CHANNELS] = [str(Path(name).absolute()) for name in options[CHANNELS]]
        request = request_of(options, [path])
        try:
            if not is_capture(path, offset=request.offset):
                return None
            guest = open_guest(request, progress_callback)
        except QmigError as error:
            return _refused(context, explained(error, path))
        missing = guest.memory.missing_pages
        if missing:
            _log.warning("%s: %d pages of the guest are not in the capture", path, missing)
        return _layer(context, request)


class QmigIntelStacker(interfaces.automagic.StackerLayerInterface):
    """Puts the page tables of a CPU on a guest in which Volatility recognized no system."""

    stack_order = _BEHIND_ALL

    @classmethod
    def stack(
        cls,
        context: interfaces.context.ContextInterface,
        layer_name: str,
        progress_callback: Progress = None,
    ) -> intel.Intel | None:
        """Return the layer; None where there is none, or on other layers."""
        below = context.layers[layer_name]
        if not isinstance(below, QmigLayer):
            return None
        tables = below.page_tables
        if tables is None or tables.paging not in _LAYERS:
            return None
        name = context.layers.free_layer_name("IntelLayer")
        path = _join("QmigIntel", name)
        context.config[_join(path, "memory_layer")] = layer_name
        context.config[_join(path, "page_map_offset")] = tables.root_addr
        _log.info("CPU %d ran with page tables at 0x%x", tables.cpu_index, tables.root_addr)
        return _LAYERS[tables.paging](context, config_path=path, name=name)


def explained(error: QmigError, path: str) -> str:
    """Return the line for an error, with what to do about it here."""
    text = str(error)
    if isinstance(error, StreamError):
        return f"{text}; qmig salvage takes out what is left, and Volatility opens what it writes"
    if isinstance(error, WriterError):
        text = f"{path}: {_BELOW_4G.sub('--qmig-below-4g', text)}"
        if _OTHERS.search(text):
            text += "; they are options of qmig extract, whose LiME files Volatility opens"
    return text


def _layer(context: interfaces.context.ContextInterface, request: GuestRequest) -> QmigLayer:
    name = context.layers.free_layer_name(QmigLayer.__name__)
    config = {
        FILES: [request.files[0]],
        CHANNELS: list(request.files[1:]),
        PAGE_SIZE: request.page_size_len,
        OFFSET: request.offset,
        BELOW_4G: request.below_4g_len,
    }
    for key, value in config.items():
        if value not in (None, []):
            context.config[_join(name, key)] = value
    return QmigLayer(context, name, name)


def _refused(context: interfaces.context.ContextInterface, reason: str) -> QmigRefusedLayer:
    _log.warning("%s", reason)
    name = context.layers.free_layer_name(QmigRefusedLayer.__name__)
    context.config[_join(name, REASON)] = reason
    return QmigRefusedLayer(context, name, name)
