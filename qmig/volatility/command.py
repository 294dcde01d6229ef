"""`qmig-vol`: Volatility's own command line with qmig loaded.

`qmig-vol --plugin-dir` prints the folder for `vol -p` and for the `plugin_dirs` of its settings.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

PLUGIN_FOLDER: Final = Path(__file__).resolve().parent / "plugin"
_USAGE: Final = 2


def main() -> int | None:
    """Run `vol` with the arguments of this process; return the exit code, None for success."""
    if sys.argv[1:] == ["--plugin-dir"]:
        sys.stdout.write(f"{PLUGIN_FOLDER}\n")
        return None
    try:
        from volatility3 import cli
        from volatility3.framework import constants
    except ModuleNotFoundError as error:
        sys.stderr.write(f"qmig-vol: {error}; pip install 'qmig[volatility]' has it\n")
        return _USAGE
    constants.PLUGINS_PATH.insert(0, str(PLUGIN_FOLDER))
    cli.main()
    return None


if __name__ == "__main__":
    sys.exit(main())
