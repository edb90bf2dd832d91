"""The command line. ``lamina --version`` answers from here, ``lamina index`` from :mod:`lamina.cli.quick` if it can."""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # typing costs more than all that `--version` does
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; see :class:`lamina.cli.exit_codes.ExitCode`.

    Args:
        argv: The arguments after the program's name; None takes those of the process.
    """
    try:
        return _run(list(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:  # before or after the command itself, which reports its own
        return 130


def _run(args: list[str]) -> int:
    if args in (["--version"], ["-V"]):
        from lamina._version import __version__

        sys.stdout.write(f"lamina {__version__}\n")
        return 0
    if "index" in args[:3]:
        from lamina.cli.quick import print_index

        code = print_index(args)
        if code is not None:
            return code
    from lamina.cli.app import run

    return run(args)
