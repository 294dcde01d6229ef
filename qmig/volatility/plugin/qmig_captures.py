"""Loads qmig's layers into Volatility, which looks for them when it has imported this file."""

from __future__ import annotations

import logging

try:
    from qmig.volatility import stacker
except ModuleNotFoundError as error:
    # Volatility passes over a file that fails without a word, and would read captures wrongly.
    logging.getLogger(__name__).warning(
        "qmig is not installed for the Python that runs Volatility (%s); "
        "pip install 'qmig[volatility]' in its environment",
        error,
    )
    raise

__all__ = ["stacker"]
