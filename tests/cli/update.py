"""Write `docs/cli.md` anew from the help of all commands: `python -m tests.cli.update`."""

from typing import Final

from tests.cli.conftest import ROOT, run_qmig

CLI_DOCUMENT: Final = ROOT / "docs" / "cli.md"
_COMMANDS: Final[tuple[list[str], ...]] = (
    *([], ["inspect"], ["devices"], ["diff"], ["validate"], ["extract"], ["salvage"], ["save"]),
)
_HEAD: Final = """\
# The command line

What `--help` says of each command; this file is made by `python -m tests.cli.update`.

Results go to standard output, all else to standard error. Progress is shown on a terminal alone,
and colour only there and only if `NO_COLOR` is not set. What `--json` and `--json-lines` write is
described in [json/inspect.md](json/inspect.md), [json/devices.md](json/devices.md),
[json/diff.md](json/diff.md), [json/validate.md](json/validate.md),
[json/extract.md](json/extract.md),
[json/salvage.md](json/salvage.md) and [json/save.md](json/save.md).

| exit code | meaning |
| --- | --- |
| 0 | fine |
| 1 | the input is damaged, cut short or judged bad; what can be read is shown; or captures differ |
| 2 | the command line is wrong, or asks for what a format cannot express |
| 3 | the input cannot be read, judged or compared; or the output cannot be written |
| 70 | a bug in qmig; `QMIG_DEBUG=1` shows the traceback |
| 130 | interrupted (143 by SIGTERM, 129 by SIGHUP); nothing unfinished is left behind |
| 141 | the reader of the output went away |
"""


def cli_document() -> str:
    """Return the document as it should be."""
    parts = [_HEAD]
    for command in _COMMANDS:
        title = " ".join(["qmig", *command])
        said = run_qmig([*command, "--help"], env={"COLUMNS": "90"}).out.strip()
        parts.append(f"\n## `{title}`\n\n```\n{said}\n```\n")
    return "".join(parts)


if __name__ == "__main__":
    CLI_DOCUMENT.write_text(cli_document())
