"""What every command shares: the global options, the two streams, and the store."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from lamina.cli.paint import Paint, clean
from lamina.errors import LaminaError, StorageError

if TYPE_CHECKING:
    from lamina.store import Store

__all__ = [
    "Command",
    "Group",
    "Interrupted",
    "Shell",
    "is_terminal",
    "pass_shell",
    "silence_stdout",
    "store_path",
    "writing_output",
]

_COMMON = frozenset(("store", "scope", "json", "help", "version"))


class Interrupted(click.Abort):
    """Ctrl-C in the middle of adding.

    Args:
        added: How many memories were added before it, and are kept.
    """

    def __init__(self, added: int) -> None:
        super().__init__()
        self.added = added


class Shell:
    """The outside of one command: what was asked of all commands alike, and where output goes.

    Args:
        store: Folder of the store; None looks for it.
        scopes: What the handle may see; empty is everything.
        json: Answer with one JSON document.
        color: None decides by the terminal; True and False force it.
        width: Columns; None asks the terminal.
    """

    def __init__(
        self,
        *,
        store: str | None = None,
        scopes: tuple[str, ...] = (),
        json: bool = False,
        color: bool | None = None,
        width: int | None = None,
    ) -> None:
        self.store = store
        self.scopes = scopes
        self.json = json
        self._color = color
        self._width = width

    @cached_property
    def out(self) -> Paint:
        """Colours of standard output."""
        return Paint(self._colored(sys.stdout))

    @cached_property
    def err(self) -> Paint:
        """Colours of standard error."""
        return Paint(self._colored(sys.stderr))

    def _colored(self, stream: TextIO) -> bool:
        if self._color is not None:
            return self._color
        return is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    @cached_property
    def width(self) -> int:
        """Columns to write in: the terminal's, at least 40; 100 where there is no terminal."""
        if self._width is None and is_terminal(sys.stdout):
            from shutil import get_terminal_size

            self._width = get_terminal_size((80, 24)).columns
        return max(40, self._width or 100)

    @property
    def interactive(self) -> bool:
        """Whether someone can be asked."""
        return is_terminal(sys.stdin) and is_terminal(sys.stderr)

    def say(self, text: str = "") -> None:
        """Talks: a line on standard error."""
        _write(sys.stderr, text + "\n")

    def write(self, text: str) -> None:
        """Answers with text as it is."""
        _write(sys.stdout, text)

    def note(self, text: str) -> None:
        """Says something that is off but no failure."""
        self.say(f"{self.err.yellow('note:')} {text}")

    def emit(self, document: Mapping[str, Any], render: Callable[[], Iterable[str]]) -> None:
        """Answers: the document with ``--json``, else the lines of ``render``."""
        if self.json:
            from json import dumps

            plain = not (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf8")
            _write(sys.stdout, dumps(document, ensure_ascii=plain, indent=2) + "\n")
            return
        for line in render():
            _write(sys.stdout, line + "\n")

    @contextmanager
    def open(self, *, write: bool = False, create: bool = False, **options: Any) -> Iterator[Store]:
        """Opens the store of the global options.

        Args:
            write: Open for writing. Commands that only read change no file, and nothing in the catalog but what
                follows from files that people changed.
            create: Make the store where it is not there, and say so.
            **options: More for :func:`lamina.open`.
        """
        import lamina
        from lamina.config import ENGINE_FOLDER, find_store

        location, _ = find_store(self.store)
        new = create and not (location / ENGINE_FOLDER).is_dir()
        scopes = list(self.scopes) or None
        store = lamina.open(location, create=create, read_only=not write, scopes=scopes, **options)
        if not write and store.synced is None:  # files were changed by hand, and reading cannot take that over
            store.close()
            self._follow(location)
            store = lamina.open(location, create=False, read_only=True, scopes=scopes, **options)
        with store:
            if new:
                self.say(self.err.dim(f"made a new store in {clean(str(location))}"))
            yield store

    def _follow(self, location: Path) -> None:
        """Lets the catalog follow the files, where the store may be written; what is wrong with them is said."""
        import lamina

        try:
            with lamina.open(location, create=False, scopes=list(self.scopes) or None) as store:
                problems = store.synced.problems if store.synced else ()
        except LaminaError:
            return  # a folder that may only be read: the store says that it is behind
        for problem in problems[:1]:
            more = f" and {len(problems) - 1:,} more" if len(problems) > 1 else ""
            self.note(clean(f"{problem.message.rstrip('.')}{more}. `lamina sync` names them."))

    def whole_store(self, what: str) -> None:
        """Says that ``--scope`` has no meaning for a command."""
        if self.scopes:
            self.note(f"--scope does not narrow `{what}`; it works on the whole store.")
            self.scopes = ()

    def one_scope(self) -> str | None:
        """The scope to write to, or None where none was named.

        Raises:
            UsageError: More than one was named.
        """
        if len(self.scopes) > 1:
            raise click.UsageError("A memory has one scope; --scope was given more than once.")
        return self.scopes[0] if self.scopes else None


pass_shell = click.make_pass_decorator(Shell, ensure=True)
"""Hands the :class:`Shell` to a command."""


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a stream is a terminal; a closed or missing one is not."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


def _write(stream: TextIO, text: str) -> None:
    """Writes text; what the stream's encoding lacks becomes a question mark rather than an error."""
    with writing_output():
        try:
            stream.write(text)
        except UnicodeEncodeError:
            encoding = stream.encoding or "ascii"
            stream.write(text.encode(encoding, "replace").decode(encoding))


@contextmanager
def writing_output() -> Iterator[None]:
    """Turns a failed write of output into an error of ours; a reader that went away stays a broken pipe."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        silence_stdout()
        message = f"The output could not be written: {error.strerror or error}."
        raise StorageError(message, hint="Give it another place.") from error


def silence_stdout() -> None:
    """Points standard output at nothing, so that the interpreter's last flush does not fail again."""
    try:
        descriptor = os.open(os.devnull, os.O_WRONLY)
        os.dup2(descriptor, sys.stdout.fileno())
        os.close(descriptor)
    except (OSError, ValueError):
        pass  # standard output is no file, or is closed already


def _keep(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    """A callback that puts an option's value on the shell: whichever place gives one, the innermost wins."""

    def callback(ctx: click.Context, _: click.Parameter, value: Any) -> None:
        if value:
            setattr(ctx.ensure_object(Shell), name, value)

    return callback


def global_options() -> list[click.Parameter]:
    """The options that every command takes, on either side of its name."""
    return [
        click.Option(
            ["--store"],
            metavar="PATH",
            expose_value=False,
            callback=_keep("store"),
            is_eager=True,
            type=click.Path(),
            help="Folder of the store.",
        ),
        click.Option(
            ["--scope"],
            metavar="NAME",
            multiple=True,
            expose_value=False,
            callback=_keep("scopes"),
            is_eager=True,
            help="Whose memories: private, team, user/alice. Repeat to read several.",
        ),
        click.Option(
            ["--json"],
            is_flag=True,
            expose_value=False,
            callback=_keep("json"),
            is_eager=True,
            help="Answer with one JSON document.",
        ),
    ]


def _write_options(command: click.Command, ctx: click.Context, formatter: click.HelpFormatter) -> None:
    """Writes a command's own options first, then those of every command."""
    own: list[tuple[str, str]] = []
    common: list[tuple[str, str]] = []
    for param in command.get_params(ctx):
        record = param.get_help_record(ctx)
        if record is not None and isinstance(param, click.Option):
            (common if param.name in _COMMON else own).append(record)
    for title, rows in (("Options", own), ("Everywhere", common)):
        if rows:
            with formatter.section(title):
                formatter.write_dl(rows)


class Command(click.Command):
    """A command that takes the global options, too, and lists them apart."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params = [*self.params, *global_options()]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the options in two sections."""
        _write_options(self, ctx, formatter)


class Group(click.Group):
    """A group that takes the global options, too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params = [*global_options(), *self.params]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the commands first, then the options."""
        self.format_commands(ctx, formatter)
        _write_options(self, ctx, formatter)


def store_path(text: str) -> Path:
    """A path as the user typed it, made absolute."""
    return Path(text).expanduser().absolute()
