"""The entry point of `qmig`, on the command line and as `python -m qmig`.

What it costs to start is most of what a short command costs, so nothing is imported before it is
known to be needed: `--version` needs nothing, and `inspect` with files alone no option parser.
"""

import sys


def main() -> int:
    """Run the command line; return the exit code (see `qmig.cli.guard`)."""
    arguments = sys.argv[1:]
    if arguments == ["--version"]:
        from qmig._version import __version__

        sys.stdout.write(f"qmig {__version__}\n")
        return 0
    from qmig.cli.guard import guarded

    if arguments[:1] == ["inspect"] and is_files_alone(arguments[1:]):
        return guarded(lambda: _inspect(arguments[1:]))
    return guarded(_parse_and_run)


def is_files_alone(arguments: list[str]) -> bool:
    """Tell whether arguments are file names and nothing else, so that no parser is needed."""
    return bool(arguments) and all(a == "-" or not a.startswith("-") for a in arguments)


def _inspect(files: list[str]) -> int:
    from qmig.cli.inspect import InspectOptions, inspect

    return inspect(InspectOptions(files))


def _parse_and_run() -> int:
    from qmig.cli.app import run

    return run()


if __name__ == "__main__":
    sys.exit(main())
