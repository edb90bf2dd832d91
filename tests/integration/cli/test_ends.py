"""How a process ends: exit codes, pipes, interrupts, bugs, terminals."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import lamina
from lamina.cli import app
from lamina.cli.shell import Shell

Cli = Any
_SOURCE = str(Path(__file__).resolve().parents[3] / "src")


def on_terminal(args: list[str], typed: bytes = b"", **environment: str) -> tuple[int, str]:
    """Runs a command on a terminal of its own; returns its exit code and all that it showed."""
    child, master = pty.fork()
    if child == 0:
        os.environ.update({"PYTHONPATH": _SOURCE, "TERM": "xterm", "COLUMNS": "80", **environment})
        os.execv(sys.executable, [sys.executable, "-m", "lamina.cli", *args])
    shown = b""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        ready, _, _ = select.select([master], [], [], 0.1)
        if ready:
            try:
                part = os.read(master, 65536)
            except OSError:
                break
            if not part:
                break
            shown += part
            if typed and b"?" in shown:
                os.write(master, typed)
                typed = b""
    _, status = os.waitpid(child, 0)
    os.close(master)
    return os.waitstatus_to_exitcode(status), shown.decode()


def test_unknown_commands_are_answered_with_near_ones(cli: Cli) -> None:
    """A slip of the finger costs one line."""
    assert "Did you mean 'recall'?" in cli("recal", "x", code=2).err
    assert cli("frobnicate", "--json", code=2).error["code"] == "usage"
    assert cli("recall", "x", "--nope", "--json", code=2).error["exit"] == 2


@pytest.mark.parametrize(("alias", "args"), [("remember", ["x y"]), ("search", ["x"]), ("show", ["abcdefgh"])])
def test_names_from_elsewhere_work(cli: Cli, alias: str, args: list[str]) -> None:
    """remember, search, show and delete are add, recall, get and forget."""
    cli("add", "x")

    cli(alias, *args, code=3 if alias == "show" else 0)


def test_no_command_shows_the_help(cli: Cli) -> None:
    """On standard error, as a usage error: a script that lost its command must notice."""
    assert "Commands:" in cli(code=2).err


def test_a_bug_is_one_line(cli: Cli, filled: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that is none of ours ends with 70 and says so; no traceback, unless it is asked for."""

    def broken(*args: object, **options: object) -> None:
        raise RuntimeError("the\nmoon")

    monkeypatch.setattr(lamina.Memories, "list", broken)

    answer = cli("list", code=70)
    error = cli("list", "--json", code=70).error

    assert answer.err == (
        "Error: This is a bug in Lamina: RuntimeError: the moon\nHint:  LAMINA_DEBUG=1 shows where; please report it.\n"
    )
    assert (error["code"], error["exit"]) == ("bug", 70)


def test_debug_shows_the_traceback(process: Cli) -> None:
    """LAMINA_DEBUG=1 shows where an error came from."""
    answer = process("get", "abcdefgh", code=3, LAMINA_DEBUG="1")

    assert "Traceback" in answer.err
    assert "NotFoundError" in answer.err


def test_an_interrupt_ends_with_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C is no bug and no traceback."""

    def interrupted(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Shell, "emit", interrupted)

    assert app.run(["--version"]) == 130
    assert "Interrupted" in capsys.readouterr().err


def test_a_real_interrupt_ends_with_130(place: Path) -> None:
    """SIGINT in the middle of reading standard input: exit code 130, one line."""
    with subprocess.Popen(
        [sys.executable, "-m", "lamina.cli", "import", "-"],
        env={**os.environ, "PYTHONPATH": _SOURCE},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as running:
        deadline = time.monotonic() + 20
        while not (place / ".lamina").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.3)
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=20)

    assert running.returncode in (130, -signal.SIGINT)  # a shell shows both as 130
    assert b"Traceback" not in err
    assert b"Interrupted" in err


def test_a_reader_that_leaves_is_no_error(cli: Cli, place: Path) -> None:
    """``lamina export | head -1`` ends quietly, with the code of a broken pipe."""
    cli("import", "-", "--no-duplicates", stdin="\n\n".join(f"Note {number}. " + "x" * 200 for number in range(2000)))

    with subprocess.Popen(
        [sys.executable, "-m", "lamina.cli", "export"],
        env={**os.environ, "PYTHONPATH": _SOURCE},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.readline()
        running.stdout.close()
        err = running.stderr.read()
        running.wait(timeout=20)

    assert err == b""
    assert running.returncode == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_cannot_be_written_is_said(cli: Cli, filled: dict[str, str]) -> None:
    """A full disk behind standard output is a failure with a message, not a traceback."""
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "lamina.cli", "list"],
            env={**os.environ, "PYTHONPATH": _SOURCE},
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )

    assert done.returncode == 1
    assert b"The output could not be written: No space left on device." in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_poor_encoding_does_not_fail(process: Cli) -> None:
    """On an ASCII terminal text gets question marks, JSON gets escapes and stays whole."""
    ident = process("add", "Caf\u00e9 \u65e5\u672c").out.strip()

    shown = process("get", ident, PYTHONIOENCODING="ascii").out
    document = process("get", ident, "--json", PYTHONIOENCODING="ascii").out

    assert "Caf? ??" in shown
    assert document.isascii()
    assert json.loads(document)["memory"]["text"] == "Caf\u00e9 \u65e5\u672c"


def test_a_store_that_is_written_elsewhere_is_locked(place: Path, cli: Cli, filled: dict[str, str]) -> None:
    """A writer that waits in vain ends with 5; readers go on."""
    (place / "lamina.toml").write_text("busy_timeout = 0.1\n", encoding="utf-8")
    import apsw

    blocker = apsw.Connection(str(place / ".lamina" / "catalog.db"))
    blocker.execute("BEGIN IMMEDIATE")
    try:
        assert cli("add", "x", "--json", code=5).error["code"] == "locked"
        assert cli("list", "--json").json["total"] == 4
        assert cli("recall", "billing", "--json").json["hits"]
    finally:
        blocker.execute("ROLLBACK")
        blocker.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(place: Path, cli: Cli, filled: dict[str, str]) -> None:
    """Reading works, writing ends with 6."""
    for path in (place / ".lamina", place):
        path.chmod(0o555)
    try:
        assert cli("list", "--json").json["total"] == 4
        assert cli("add", "x", "--json", code=6).error["code"] == "read-only"
    finally:
        for path in (place, place / ".lamina"):
            path.chmod(0o700)


def test_a_file_where_the_folder_should_be(place: Path, cli: Cli) -> None:
    """A path that cannot be a store is a usage error."""
    place.write_text("a file", encoding="utf-8")

    assert cli("add", "x", "--json", code=2).error["code"] == "invalid-input"


def test_colours_are_for_terminals(cli: Cli, filled: dict[str, str]) -> None:
    """On a terminal matched words are coloured; NO_COLOR and TERM=dumb turn that off."""
    code, colored = on_terminal(["recall", "billing"])

    assert code == 0
    assert "\x1b[1;33mbilling\x1b[0m" in colored
    assert "\x1b" not in on_terminal(["recall", "billing"], NO_COLOR="1")[1]
    assert "\x1b" not in on_terminal(["recall", "billing"], TERM="dumb")[1]


def test_a_terminal_is_asked(cli: Cli, filled: dict[str, str]) -> None:
    """Forget asks; no keeps everything and ends with 1, yes deletes."""
    code, shown = on_terminal(["forget", filled["style"]], b"n\n")
    assert (code, "Nothing was done." in shown) == (1, True)
    assert cli("list", "--json").json["total"] == 4

    code, shown = on_terminal(["forget", filled["style"]], b"y\n")
    assert (code, "deleted" in shown) == (0, True)
    assert cli("list", "--json").json["total"] == 3


def test_a_terminal_sees_progress(cli: Cli, tmp_path: Path) -> None:
    """Long work draws a bar on a terminal, and takes it away again; a memory's text cannot act on it."""
    (tmp_path / "notes.txt").write_bytes(b"\n\n".join(b"Note %d \x1b]0;evil\x07." % number for number in range(3000)))

    code, shown = on_terminal(["import", "notes.txt"])
    listed = on_terminal(["list", "-n", "1"])[1]

    assert (code, "adding from notes.txt" in shown) == (0, True)
    assert "3,000 added" in shown
    assert "\x1b]0;" not in listed
    assert "\u241b]0;evil" in listed
