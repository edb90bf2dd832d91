"""The root command: its table of commands, how they are loaded, and how every failure leaves the process."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Final

import click

from lamina.cli.exit_codes import ExitCode, exit_code_for
from lamina.cli.paint import clean, shell_words
from lamina.cli.shell import Group, Interrupted, Shell, silence_stdout, writing_output
from lamina.errors import LaminaError

__all__ = ["ALIASES", "COMMANDS", "root", "run"]

COMMANDS: Final[Mapping[str, str]] = {
    "init": "Make a store, and say what to do next.",
    "add": "Remember something.",
    "recall": "Ask in your own words.",
    "get": "Show one memory, whole.",
    "list": "List memories, the newest first.",
    "update": "Change a memory; its history keeps what it was.",
    "forget": "Delete memories; with --purge, from history too.",
    "history": "Show every change of a memory.",
    "index": "Print what an agent loads every time; --check and --fix it.",
    "open": "Edit a memory's file in your editor.",
    "move": "Give a memory another scope, or its file another name.",
    "sync": "Take over what was changed in the files by hand.",
    "watch": "Take over changes of the files as they happen.",
    "team": "See what is new in team/, from git; merge its indexes.",
    "patterns": "What worked: list, search, learn, suggest, trends.",
    "sessions": "Runs of agents: import, list, show, archive.",
    "export": "Write memories as JSON lines, CSV or Markdown.",
    "import": "Read memories from a file or standard input.",
    "state": "Named arrays of a model: commit, log, diff, restore.",
    "stats": "Count what the store holds, and its bytes.",
    "status": "Say which store is used, and why, and what is off.",
    "doctor": "Check versions, disk, locks and embedder; say what to do.",
    "verify": "Check that what is on disk is what was written.",
    "repair": "Rebuild what verify found damaged.",
    "reindex": "Compute missing vectors, or all with another embedder.",
    "optimize": "Merge the text index, train compression, give back space.",
    "gc": "Give back room that nothing uses.",
    "backup": "Copy the store while it is in use.",
    "bench": "Measure this machine and this version.",
    "tour": "See it all work on real input, in ten seconds.",
    "completion": "Print a shell's completion script.",
}
"""Every command and its one line of help. The module of NAME is ``lamina.cli.commands.NAME``."""

ALIASES: Final[Mapping[str, str]] = {"remember": "add", "search": "recall", "show": "get", "delete": "forget"}
"""Names that people bring from elsewhere."""

_MODULES: Final[Mapping[str, str]] = {"import": "import_"}  # a keyword cannot name a module that others import

_EPILOG: Final = (
    "Global options work before and after the command. Data goes to standard output, everything else to standard "
    "error. The store used is --store, else LAMINA_STORE, else the nearest folder above with a .lamina folder or a "
    "lamina.toml, else the platform's data folder; `lamina status` prints it."
)


class _ReaderGoneError(Exception):
    """Standard output has no reader any more."""


class Root(Group):
    """The group that loads a command's module when the command is used, and none for ``--help``."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Every command's name, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Loads one command."""
        name = ALIASES.get(cmd_name, cmd_name)
        if name not in COMMANDS:
            return None
        command = import_module(f"lamina.cli.commands.{_MODULES.get(name, name)}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Like click's own, but an unknown name is answered with the nearest ones."""
        name = args[0]
        if name not in COMMANDS and name not in ALIASES and not name.startswith("-") and not ctx.resilient_parsing:
            from difflib import get_close_matches

            near = get_close_matches(name, (*COMMANDS, *ALIASES), n=1, cutoff=0.6)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise click.UsageError(f"There is no command {name!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Writes the table; no command is imported for it."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """Completes names of commands from the table."""
        from click.shell_completion import CompletionItem

        found = [CompletionItem(name, help=text) for name, text in COMMANDS.items() if name.startswith(incomplete)]
        return found or click.Command.shell_complete(self, ctx, incomplete)

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command; click would end the process itself where the reader of its output went away."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise _ReaderGoneError from error

    def main(self, args: Sequence[str] | None = None, *rest: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """Runs the program; in standalone mode, as a process does: every failure is shown and gives an exit code."""
        if standalone_mode:
            sys.exit(run(list(sys.argv[1:] if args is None else args), obj=extra.get("obj")))
        return super().main(args, *rest, standalone_mode=False, **extra)  # type: ignore[call-overload]


def _version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    """Prints the version; with --json as a document."""
    if value and not ctx.resilient_parsing:
        from lamina._version import __version__

        shell = ctx.ensure_object(Shell)
        shell.emit({"version": __version__}, lambda: [f"lamina {__version__}"])
        ctx.exit()


root = Root(
    name="lamina",
    help="Durable memory for AI: add what happened, recall it in your own words.",
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
    params=[
        click.Option(
            ["--version", "-V"], is_flag=True, expose_value=False, callback=_version, help="Print the version."
        ),
    ],
)
"""The program, as click sees it."""


def run(args: list[str], obj: Shell | None = None) -> int:
    """Runs one command line and turns whatever happens into an exit code.

    Args:
        args: The arguments after the program's name.
        obj: What is known of the outside already; None finds out.

    Returns:
        An :class:`ExitCode`. Errors were shown on standard error, as JSON where ``--json`` was given.
    """
    shell = obj or Shell()
    try:
        result = root.main(args, "lamina", standalone_mode=False, obj=shell)
        with writing_output():
            sys.stdout.flush()
    except SystemExit as end:  # how click answers a shell that asks for completions
        return int(end.code) if isinstance(end.code, int) else ExitCode.OK
    except (BrokenPipeError, _ReaderGoneError):
        silence_stdout()
        return ExitCode.BROKEN_PIPE
    except BaseException as error:  # noqa: BLE001 - the last place where an error can become a message
        return _report(error, shell, as_json=shell.json or "--json" in args)
    return int(result) if isinstance(result, int) else ExitCode.OK


def _report(error: BaseException, shell: Shell, *, as_json: bool) -> int:
    """Shows an error that ended a command, and says with which code the process ends."""
    code, facts = _describe(error)
    facts = {**facts, "message": shell_words(str(facts["message"])), "hint": shell_words(str(facts["hint"] or ""))}
    if os.environ.get("LAMINA_DEBUG"):
        import traceback

        traceback.print_exception(error)
    try:
        if as_json:
            import json

            shell.say(json.dumps({"error": {**facts, "exit": int(code)}}, ensure_ascii=True, default=str))
        else:
            _show(error, facts, shell)
        sys.stderr.flush()
    except (OSError, LaminaError):
        pass  # nobody listens; the exit code still speaks
    return int(code)


def _describe(error: BaseException) -> tuple[ExitCode, dict[str, Any]]:
    if isinstance(error, LaminaError):
        return exit_code_for(error), error.to_dict()
    if isinstance(error, KeyboardInterrupt | click.Abort | EOFError):
        return ExitCode.INTERRUPT, {"code": "interrupted", "message": "Interrupted.", "hint": "", **_kept(error)}
    if isinstance(error, click.UsageError):
        hint = f"Try '{error.ctx.command_path} --help'." if error.ctx else ""
        return ExitCode.USAGE, {"code": "usage", "message": error.format_message(), "hint": hint}
    if isinstance(error, click.ClickException):
        return ExitCode.FAILURE, {"code": "error", "message": error.format_message(), "hint": ""}
    if isinstance(error, MemoryError):
        return ExitCode.FAILURE, {"code": "memory", "message": "The machine has not enough memory left.", "hint": ""}
    message = f"This is a bug in Lamina: {type(error).__name__}: {' '.join(str(error).split())}"
    return ExitCode.BUG, {"code": "bug", "message": message, "hint": "LAMINA_DEBUG=1 shows where; please report it."}


def _kept(error: BaseException) -> dict[str, int]:
    return {"added": error.added} if isinstance(error, Interrupted) else {}


def _show(error: BaseException, facts: Mapping[str, Any], shell: Shell) -> None:
    if isinstance(error, click.UsageError) and type(error).__name__ == "NoArgsIsHelpError":
        shell.say(error.format_message())
        return
    if isinstance(error, click.UsageError) and error.ctx is not None:
        shell.say(error.ctx.get_usage())
    shell.say(f"{shell.err.red('Error:')} {clean(facts['message'])}")
    if facts.get("added"):
        were = "memory was" if facts["added"] == 1 else "memories were"
        shell.say(f"{facts['added']:,} {were} added before it, and {'is' if facts['added'] == 1 else 'are'} kept.")
    if facts["hint"]:
        shell.say(f"{shell.err.dim('Hint:')}  {clean(facts['hint'])}")
