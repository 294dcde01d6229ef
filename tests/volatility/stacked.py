"""Volatility as a library: what all its stackers, qmig's among them, put on a file.

Volatility makes a folder for its cache when it is imported, so it is imported late, when the
environment says where.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self


class Stacks:
    """Puts layers on files; a context manager, which closes the files."""

    def __init__(self) -> None:
        self._opened: list[Any] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for layer in self._opened:
            layer.destroy()

    def __call__(self, path: Path, channels: Sequence[Path] = (), **options: int) -> list[Any]:
        """Return the layers that are put on a file, the topmost first.

        Args:
            path: the file.
            channels: for --qmig-channels.
            options: others of qmig, under their names in Volatility's configuration.
        """
        from volatility3.framework import contexts, import_files
        from volatility3.framework.automagic.stacker import LayerStacker
        from volatility3.framework.layers import physical

        from qmig.volatility import stacker

        import_files(sys.modules["volatility3.framework.layers"])
        context = contexts.Context()
        own = f"automagic.{stacker.QmigOptions.__name__}"
        if channels:
            context.config[f"{own}.qmig_channels"] = [str(channel) for channel in channels]
        for name, value in options.items():
            context.config[f"{own}.{name}"] = value
        context.config["file.location"] = path.absolute().as_uri()
        self._opened.append(physical.FileLayer(context, "file", "file"))
        context.add_layer(self._opened[-1])
        stackers = LayerStacker(context, "automagic.LayerStacker").create_stackers_list()
        names = LayerStacker.stack_layer(context, "file", stackers)
        return [context.layers[name] for name in names]


def kinds(layers: Sequence[Any]) -> list[str]:
    """Return the names of the classes of layers."""
    return [type(layer).__name__ for layer in layers]
