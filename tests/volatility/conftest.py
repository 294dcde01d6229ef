"""Volatility as a library: what all its stackers, qmig's among them, put on a file."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

Stack = Callable[..., list[Any]]


@pytest.fixture(scope="session", autouse=True)
def volatility_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep Volatility, which makes a folder when it is imported, out of the home of the user."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("volatility-cache"))


@pytest.fixture
def stack() -> Iterator[Stack]:
    """Give a function from a file to the layers that are put on it, the topmost first.

    Its arguments: the file, the files for --qmig-channels, and other options of qmig under their
    names in Volatility's configuration.
    """
    from volatility3.framework import contexts, import_files
    from volatility3.framework.automagic.stacker import LayerStacker
    from volatility3.framework.layers import physical

    from qmig.volatility import stacker

    import_files(sys.modules["volatility3.framework.layers"])
    opened = []

    def put(path: Path, channels: Sequence[Path] = (), **options: int) -> list[Any]:
        context = contexts.Context()
        own = f"automagic.{stacker.QmigOptions.__name__}"
        if channels:
            context.config[f"{own}.qmig_channels"] = [str(channel) for channel in channels]
        for name, value in options.items():
            context.config[f"{own}.{name}"] = value
        context.config["file.location"] = path.absolute().as_uri()
        opened.append(physical.FileLayer(context, "file", "file"))
        context.add_layer(opened[-1])
        stackers = LayerStacker(context, "automagic.LayerStacker").create_stackers_list()
        names = LayerStacker.stack_layer(context, "file", stackers)
        return [context.layers[name] for name in names]

    yield put
    for layer in opened:
        layer.destroy()


def kinds(layers: Sequence[Any]) -> list[str]:
    """Return the names of the classes of layers."""
    return [type(layer).__name__ for layer in layers]
