"""What a process imports, and how it ends, before any store is there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

_SOURCE = str(Path(__file__).resolve().parents[3] / "src")
_MAIN = (
    "import sys; from lamina.cli import main; code = main({args!r});"
    "sys.stderr.write('\\n' + ' '.join(sorted(sys.modules))); sys.exit(code)"
)


def modules_after(*args: str) -> set[str]:
    """The modules of a fresh process after one command line."""
    done = subprocess.run(
        [sys.executable, "-c", _MAIN.format(args=list(args))],
        env={**os.environ, "PYTHONPATH": _SOURCE},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize("flag", ["--version", "-V"])
def test_version_imports_next_to_nothing(flag: str) -> None:
    """The fast path loads neither click nor anything of Lamina but its version."""
    loaded = modules_after(flag)

    ours = {name for name in loaded if name.split(".")[0] == "lamina"}
    assert ours == {"lamina", "lamina._version", "lamina.cli"}
    assert not loaded & {"click", "json", "dataclasses", "inspect", "importlib.metadata"}


def test_help_imports_no_command() -> None:
    """The list of commands comes from a table."""
    loaded = modules_after("--help")

    assert not {name for name in loaded if name.startswith("lamina.cli.commands")}
    assert not loaded & {"numpy", "apsw", "tokenizers", "rich", "lamina.store"}


@pytest.mark.parametrize("command", ["add", "recall", "list", "import", "bench", "doctor", "tour"])
def test_help_of_a_command_imports_nothing_heavy(command: str) -> None:
    """Reading about a command opens no store."""
    loaded = modules_after(command, "--help")

    assert not loaded & {"numpy", "apsw", "tokenizers", "rich", "lamina.store", "lamina.bench.start"}


def test_rich_stays_out_where_nothing_is_drawn(tmp_path: Path) -> None:
    """Without a terminal there are no progress bars, so their package is not loaded."""
    notes = tmp_path / "notes.txt"
    notes.write_text("one\n\ntwo\n", encoding="utf-8")

    loaded = modules_after("import", str(notes), "--store", str(tmp_path / "store"))

    assert "lamina.store" in loaded
    assert "rich" not in loaded


def test_listing_loads_no_numpy(tmp_path: Path) -> None:
    """Reading rows needs no vectors."""
    import lamina

    with lamina.open(tmp_path / "store") as store:
        store.memories.add("one")

    assert not modules_after("list", "--store", str(tmp_path / "store")) & {"numpy", "tokenizers"}


def test_the_module_runs_as_a_program() -> None:
    """``python -m lamina.cli`` is the same as ``lamina``."""
    done = subprocess.run(
        [sys.executable, "-m", "lamina.cli", "--json", "--version"],
        env={**os.environ, "PYTHONPATH": _SOURCE},
        capture_output=True,
        text=True,
        check=True,
    )

    assert list(json.loads(done.stdout)) == ["version"]


def test_ctrl_c_while_it_starts_is_silent(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """An interrupt among the imports ends with 130 and no traceback."""
    from lamina import cli

    def interrupted(args: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_run", interrupted)

    assert cli.main(["list"]) == 130
    assert capsys.readouterr() == ("", "")
