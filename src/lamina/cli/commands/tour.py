"""``lamina tour``: all of it on real input, as a user would type it."""

from __future__ import annotations

import io
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from lamina.cli.exit_codes import ExitCode
from lamina.cli.paint import columns, one_line
from lamina.cli.shell import Command, Shell, pass_shell
from lamina.errors import NotFoundError
from lamina.formats.fields import iso_time

__all__ = ["command"]

QUESTIONS: Final[Mapping[str, str]] = {
    "do I need an API key?": "No key",
    "does it phone home?": "No telemetry",
    "which folder will my memories end up in?": "Which store",
    "can several programs use the same folder at once?": "Several processes",
    "another process holds the lock, what now?": "Answer: Another process",
    "what should I do after fsync returned an error?": "A failed fsync",
    "is it ok to delete the search folder?": "What lies",
    "why was sqlite reached through another package?": "Why apsw",
    "why not just pickle everything?": "No pickle",
    "how are texts compressed?": "Compression",
    "which embedding model is used by default?": "Static word vectors",
    "can a cloned repository change my settings?": "lamina.toml",
    "how do I restrict what a handle can see?": "Scopes",
    "how can I see what was known last week?": "Answer: Update it",
    "what happens to long documents?": "Passages",
    "how long may a text be?": "Limits",
    "how does it fit answers into a prompt?": "Token budgets",
    "how do I make a good answer rank higher next time?": "Feedback",
    "is the newest information lost when an index is full?": "Nothing is cut",
    "how is the quality of recall measured?": "How LoCoMo",
}
"""Asked of the examples, with the beginning of the memory that answers."""

EXAMPLES: Final = "examples"
"""The scope of the memories that are asked."""
_LESSON: Final = "The tour ends within ten seconds. **Why:** Nobody waits longer."
_BY_HAND: Final = "The demo is timed by make test."

_ONE_LINE: Final = 96  # from so many columns a question and its answer share a line


@click.command("tour", cls=Command)
@click.argument("file", required=False, type=click.Path())
@click.option("--keep", is_flag=True, help="Keep the store of the tour, and say where it is.")
@pass_shell
def command(shell: Shell, file: str | None, keep: bool) -> ExitCode:
    """Show what Lamina does: on memories about itself, and on FILE (text, JSON lines or CSV) where you name one.

    It works in a temporary folder; your own store is not touched.
    """
    if file is not None and not Path(file).expanduser().is_file():
        raise NotFoundError(f"There is no file {file}.", hint="Name a file with text, JSON lines or CSV.")
    started = time.perf_counter()
    folder = Path(tempfile.mkdtemp(prefix="lamina-tour-"))
    try:
        tour = _Tour(shell, folder / "store")
        for line in tour.play(file):
            if not shell.json:
                click.echo(line, color=shell.out.enabled)
        seconds = time.perf_counter() - started
        document = {"store": str(tour.store) if keep else None, "steps": tour.steps, "seconds": seconds}
        shell.emit(document, lambda: _farewell(shell, tour, seconds, keep=keep))
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
    failed = [step["exit"] for step in tour.steps if step["exit"] != step["expected_exit"]]
    return ExitCode(failed[0]) if failed else ExitCode.OK


@dataclass
class _Tour:
    """Runs commands on the tour's store and remembers what they said."""

    shell: Shell
    store: Path
    steps: list[dict[str, Any]] = field(default_factory=list)

    def play(self, file: str | None) -> Iterator[str]:
        """Every step, as lines to show."""
        yield from self._text(
            "Lamina remembers what it is told, finds it when asked in other words, and says why. No key, no server, no "
            "download. This tour works in a temporary folder; its commands are shown without the --store that names it."
        )
        yield from self._files()
        yield from self._rows()
        if file is not None:
            yield from self._own(file)
        yield from self._change()
        yield from self.step("Check that what is on disk is what was written.", ["verify", "--level", "full"])
        yield from self.step("And see what is there.", ["status"])

    def _files(self) -> Iterator[str]:
        """A folder of markdown: opened as it is, recalled, added to, edited by hand."""
        from lamina._examples import memory_folder

        shutil.copytree(memory_folder(), self.store, ignore=shutil.ignore_patterns(".*"))
        yield from self.step(
            "A memory directory is a folder of markdown. This one is the project's own; it opens as it is.",
            ["init"],
            most=3,
        )
        yield from self.step("Its index is what an agent loads every time: one line a memory.", ["index"], most=6)
        yield from self.step(
            "Ask in your own words. The answer names its file, and its age from two days on.",
            ["recall", "may I tune the weights on the whole benchmark?", "-n", "1", "--lines", "4"],
        )
        yield from self.step(
            "Knowledge that is added becomes a file and a line of the index.",
            ["add", _LESSON, "--type", "feedback", "--title", "Keep the tour short"],
        )
        name = "feedback_keep_the_tour_short.md"
        path = self.store / name
        yield from self._shown("", f"cat {name}", path.read_text(encoding="utf-8"))
        with path.open("a", encoding="utf-8") as opened:  # as a person's editor would, not through the store
            opened.write(_BY_HAND + "\n")
        yield from self._shown(
            "Edit it with anything. What you wrote is taken over, and no file is rewritten.",
            f'echo "{_BY_HAND}" >> {name}',
            "",
        )
        yield from self.step("", ["sync"])
        yield from self.step("", ["recall", "who times the demo?", "-n", "1", "--lines", "5"])
        yield from self.step("Does every file have its pointer, and every pointer its file?", ["index", "--check"])

    def _rows(self) -> Iterator[str]:
        """Memories that are rows of the catalog: imported, asked, explained, narrowed."""
        from lamina._examples import tour_file

        yield from self.step(
            "Everything else is a row, made for millions: events, conversations, scopes of your own. All are recalled "
            "together.",
            ["import", str(tour_file()), "--scope", EXAMPLES],
        )
        yield from self._questions()
        yield from self.step(
            "See the reasons of one answer, each signal with its weight.",
            [
                "recall",
                "is it ok to delete the search folder?",
                *f"--scope {EXAMPLES} -n 1 --lines 2 --explain".split(),
            ],
        )

    def _own(self, file: str) -> Iterator[str]:
        yield from self.step(
            "Your own file, in a scope of its own. Questions to it stay in that scope.",
            ["import", file, "--scope", "yours"],
        )
        import lamina

        with lamina.open(self.store, read_only=True) as store:
            mine = store.memories.list(scope="yours", limit=50)
        for memory in mine[:: max(1, len(mine) // 3)][:3]:
            words = [word for word in memory.text.split() if len(word) > 3 and word.isalpha()] or memory.text.split()
            question = " ".join(words[1:12:2] or words[:6])
            yield from self.step(
                "A few words of yours, out of order." if memory is mine[0] else "",
                ["recall", question, "--scope", "yours", "-n", "2", "--lines", "2"],
            )

    def _questions(self) -> Iterator[str]:
        """Many questions, the first answer of each on one line."""
        import lamina

        paint, width = self.shell.out, self.shell.width
        yield from self._title("Twenty questions to them, with the first answer to each.")
        margin = max(map(len, QUESTIONS)) + 2
        with lamina.open(self.store, read_only=True) as store:
            times = []
            for question in QUESTIONS:
                begun = time.perf_counter()
                hits = store.memories.recall(question, scope=EXAMPLES, limit=1)
                times.append((time.perf_counter() - begun) * 1000)
                best = hits[0].memory if hits else None
                answer = (best.title or best.text) if best else "nothing found"
                if width >= _ONE_LINE:
                    gap = " " * (margin - len(question))
                    yield f"  {paint.cyan(question)}{gap}{one_line(answer, width - margin - 2)}"
                else:
                    yield f"  {paint.cyan(question)}"
                    yield f"    {one_line(answer, width - 4)}"
                self.steps.append(
                    {
                        "title": "",
                        "command": _typed(["recall", question, "--scope", EXAMPLES, "-n", "1"]),
                        "output": answer,
                        "exit": 0,
                        "expected_exit": 0,
                        "ms": times[-1],
                    }
                )
        times.sort()
        yield paint.dim(f"  asked of an open store: {times[len(times) // 2]:.1f} ms each")

    def _change(self) -> Iterator[str]:
        """What was true stops being true: update, history, as-of, supersede, purge."""
        yield from self.step(
            "Knowledge changes. Add a fact ...",
            ["add", "The staging database listens on port 5433.", "--scope", "ops", "--tag", "staging"],
        )
        first = self._last_id()
        time.sleep(0.01)
        before = datetime.now(UTC)
        time.sleep(0.01)
        yield from self.step(
            "... and correct it.", ["update", first, "--text", "The staging database listens on port 6000."]
        )
        yield from self.step("Its history keeps what it was ...", ["history", first])
        yield from self.step(
            "... and a question as of then is answered as of then.",
            ["recall", "which port is staging on?", "--as-of", iso_time(before), "-n", "1"],
        )
        yield from self.step(
            "A new memory can take the place of an old one.",
            [
                "add",
                "Staging has no database of its own any more; it shares the one of production, read-only.",
                "--scope",
                "ops",
                "--supersedes",
                first,
            ],
        )
        second = self._last_id()
        yield from self.step(
            "The old one is not recalled any more. Ask why.",
            ["recall", "which port is staging on?", "-n", "1", "--explain-missing", first],
        )
        yield from self.step(
            "And what must be gone is gone: rows, words, vectors, history.",
            ["forget", first, second, "--purge", "--yes"],
        )
        yield from self.step("", ["get", first], expected=ExitCode.NOT_FOUND)

    def _last_id(self) -> str:
        return str(self.steps[-1]["output"]).split()[0]

    def step(
        self, title: str, arguments: list[str], expected: ExitCode = ExitCode.OK, *, most: int | None = None
    ) -> Iterator[str]:
        """Runs one command as the shell would, and shows it with its output, or so many lines of it."""
        from lamina.cli.app import run

        paint = self.shell.out
        shell = Shell(store=str(self.store), color=paint.enabled, width=self.shell.width - 2)
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = run(arguments, obj=shell)
        if code == ExitCode.INTERRUPT:  # the step's own end of a Ctrl-C, which is meant for the whole tour
            raise KeyboardInterrupt
        yield from self._title(title)
        for line in _typed_lines(arguments, self.shell.width - 4):
            yield f"  {paint.bold(line)}"
        yield from self._output((out.getvalue() + err.getvalue()).rstrip("\n").split("\n"), most)
        self.steps.append(
            {
                "title": title,
                "command": _typed(arguments),
                "output": click.unstyle(out.getvalue()),
                "messages": click.unstyle(err.getvalue()),
                "exit": code,
                "expected_exit": int(expected),
            }
        )

    def _shown(self, title: str, command: str, text: str) -> Iterator[str]:
        """Shows a command that is none of ours, with what it printed."""
        yield from self._title(title)
        yield f"  {self.shell.out.bold(f'$ {command}')}"
        if text:
            yield from self._output(text.rstrip("\n").split("\n"), None)
        self.steps.append({"title": title, "command": command, "output": text, "exit": 0, "expected_exit": 0})

    def _output(self, lines: list[str], most: int | None) -> Iterator[str]:
        """Output below a command; where only its beginning is shown, long lines are cut too and the rest is counted."""
        width = self.shell.width - 2
        for line in lines[:most]:
            plain = click.unstyle(line)
            if most is not None and columns(plain) > width:
                indent = len(plain) - len(plain.lstrip())
                line = plain[:indent] + one_line(plain, width - indent)  # noqa: PLW2901 - the same line, shorter
            yield f"  {line}".rstrip()
        if most is not None and len(lines) > most:
            yield self.shell.out.dim(f"  … and {len(lines) - most} more lines")

    def _title(self, title: str) -> Iterator[str]:
        yield ""
        for line in self._text(title):
            yield self.shell.out.green(line)

    def _text(self, text: str) -> Iterator[str]:
        from lamina.cli.render import wrap

        yield from wrap(text, self.shell.width)


def _typed(arguments: list[str]) -> str:
    """The command line as a user would type it."""
    return " ".join(
        ["lamina", *(f'"{part}"' if " " in part and '"' not in part else shlex.quote(part) for part in arguments)]
    )


def _typed_lines(arguments: list[str], width: int) -> list[str]:
    """The same on lines that fit, broken between arguments as a shell allows."""
    parts: list[str] = []
    for argument in arguments:
        part = _typed([argument]).removeprefix("lamina ")
        if parts and parts[-1].startswith("-") and " " not in parts[-1] and not part.startswith("-"):
            parts[-1] += f" {part}"  # an option and its value stay together
        else:
            parts.append(part)
    lines = ["$ lamina"]
    for part in parts:
        if len(lines[-1]) + 3 + len(part) > width and len(lines[-1]) > 12:
            lines[-1] += " \\"
            lines.append("   ")
        lines[-1] += f" {part}"
    return lines


def _farewell(shell: Shell, tour: _Tour, seconds: float, *, keep: bool) -> Iterator[str]:
    paint = shell.out
    lamina = _program()
    yield ""
    yield paint.green(f"That was all of it, in {seconds:.1f} seconds.")
    yield f"The store is kept in {tour.store}" if keep else "The temporary store is gone again. Yours begins with:"
    lines = (
        ("init my-memory", "a new folder, or one with markdown in it"),
        ('add "..."', f"or: {lamina} import notes.md"),
        ("index", "what an agent loads; --check audits it"),
        ('recall "..."', "--explain says why, --json is for programs"),
        ("tour notes.md", "this tour with questions to a file of yours"),
        ("--help", "the rest"),
    )
    margin = len(lamina) + 1 + max(len(line) for line, _ in lines) + 3
    for line, what in lines:
        yield f"  {paint.cyan(f'{lamina} {line}'.ljust(margin))}{what}"


def _program() -> str:
    """What to type for ``lamina``: its path where it runs from a virtual environment that is not active."""
    program = Path(sys.executable).parent / "lamina"
    if sys.prefix == sys.base_prefix or not program.is_file() or shutil.which("lamina"):
        return "lamina"
    here = Path.cwd()
    return shlex.quote(str(program.relative_to(here) if program.is_relative_to(here) else program))
