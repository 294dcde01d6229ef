"""The entry point of `qmig`, on the command line and as `python -m qmig`.

What it costs to start is most of what a short command costs, so nothing is imported before it is
known to be needed: `--version` needs nothing, and plain uses of the verbs no option parser.
"""

import os
import sys

_INTERRUPTED = 130  # as in qmig.cli.guard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qmig.cli.save_request import SaveRequest


def main() -> int:
    """Run the command line; return the exit code (see `qmig.cli.guard`)."""
    try:
        return _run()
    except KeyboardInterrupt:  # before the guard stands, or while it speaks
        return _INTERRUPTED


def _run() -> int:
    arguments = sys.argv[1:]
    if arguments == ["--version"] and _is_version_written():
        return 0
    from qmig.cli.guard import guarded
    from qmig.cli.plain import is_value

    # numpy's linear algebra starts a thread for each core when it is loaded, and they spin.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    files_alone = bool(arguments[1:]) and all(map(is_value, arguments[1:]))
    if arguments[:1] == ["inspect"] and files_alone:
        return guarded(lambda: _inspect(arguments[1:]))
    if arguments[:1] == ["validate"] and files_alone:
        return guarded(lambda: _validate(arguments[1:]))
    if arguments[:1] == ["devices"]:
        from qmig.cli.devices_request import plain_request as plain_devices
        from qmig.cli.devices_request import run_devices

        options = plain_devices(arguments[1:])
        if options is not None:
            return guarded(lambda: run_devices(options))
    if arguments[:1] == ["save"]:
        from qmig.cli.save_request import plain_request

        request = plain_request(arguments[1:])
        if request is not None:
            return guarded(lambda: _save(request))
    if arguments[:1] == ["extract"]:
        from qmig.cli.extract_request import plain_request as plain_extract
        from qmig.cli.extract_request import run_extract

        wanted = plain_extract(arguments[1:])
        if wanted is not None:
            return guarded(lambda: run_extract(wanted))
    return guarded(_parse_and_run)


def _is_version_written() -> bool:
    """Write the version; False: it failed, which behind the guard becomes one line."""
    from qmig._version import __version__

    if sys.stdout is None:
        return True
    try:
        sys.stdout.write(f"qmig {__version__}\n")
        sys.stdout.flush()
    except OSError:
        return False
    return True


def _inspect(files: list[str]) -> int:
    from qmig.cli.inspect import InspectOptions, inspect

    return inspect(InspectOptions(files))


def _validate(files: list[str]) -> int:
    from qmig.cli.validate import validate
    from qmig.cli.validate_request import ValidateOptions

    return validate(ValidateOptions(files))


def _save(request: "SaveRequest") -> int:
    from qmig.cli.save import save

    return save(request)


def _parse_and_run() -> int:
    from qmig.cli.app import run

    return run()


if __name__ == "__main__":
    sys.exit(main())
