"""What the documentation says about commands, errors and exit codes is what the code does."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import lamina.errors
from lamina.cli.app import COMMANDS
from lamina.cli.exit_codes import ExitCode, exit_code_for
from lamina.errors import LaminaError
from lamina.search.fuse import WEIGHTS


def _errors() -> dict[str, type[LaminaError]]:
    kinds = [getattr(lamina.errors, name) for name in lamina.errors.__all__]
    return {kind.__name__: kind for kind in kinds}


def test_command_reference_is_current(repository: Path) -> None:
    """docs/cli.md is what `make docs` would write."""
    done = subprocess.run(
        [sys.executable, str(repository / "scripts" / "docs.py"), "--check"],
        env={**os.environ, "PYTHONPATH": str(repository / "src")},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr


def test_every_command_is_documented_and_described(repository: Path) -> None:
    """Each command has a section in the reference, and each says in its own words what it does."""
    text = (repository / "docs" / "cli.md").read_text(encoding="utf-8")
    sections = re.findall(r"^## lamina (\S+)$", text, re.MULTILINE)

    assert sections == list(COMMANDS)
    assert "merge-driver" not in text  # hidden: git calls it, people do not


def test_every_command_has_its_json_documented(repository: Path) -> None:
    """Each command's `--json` has a section in docs/json.md."""
    text = (repository / "docs" / "json.md").read_text(encoding="utf-8")
    headings = " ".join(re.findall(r"^##+ .*$", text, re.MULTILINE))
    missing = [name for name in COMMANDS if f"`{name}`" not in headings]

    assert missing == []


def test_every_error_has_a_row_with_its_code_and_exit(repository: Path) -> None:
    """docs/errors.md lists each error with the code that it carries and the exit code that the shell gives it."""
    text = (repository / "docs" / "errors.md").read_text(encoding="utf-8")
    rows = {
        name: (code, int(number))
        for name, code, number in re.findall(r"^\| `(\w+)` \| `([\w-]+)` \| (\d+) \|", text, re.MULTILINE)
    }
    expected = {name: (kind.code, int(exit_code_for(kind("x")))) for name, kind in _errors().items()}

    assert rows == expected


def test_every_exit_code_has_a_row(repository: Path) -> None:
    """docs/errors.md lists each exit code by number and name."""
    text = (repository / "docs" / "errors.md").read_text(encoding="utf-8")
    rows = {name: int(number) for number, name in re.findall(r"^\| (\d+) \| `([A-Z_]+)` \|", text, re.MULTILINE)}

    assert rows == {code.name: int(code) for code in ExitCode}


def test_every_weight_is_documented(repository: Path) -> None:
    """docs/recall.md lists each signal with the weight that it has."""
    text = (repository / "docs" / "recall.md").read_text(encoding="utf-8")
    rows = {name: float(weight) for name, weight in re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", text, re.MULTILINE)}

    assert rows == dict(WEIGHTS)


def test_every_invariant_has_a_test(repository: Path) -> None:
    """Each invariant of docs/architecture.md that exists by now has a test named after it."""
    page = (repository / "docs" / "architecture.md").read_text(encoding="utf-8")
    lines = re.findall(r"^(\d+)\. \*\*(.+?)\.?\*\*(.*)$", page, re.MULTILINE)
    expected = {int(number) for number, _, rest in lines if "*(Comes with" not in rest}
    folder = repository / "tests" / "reliability"
    tests = "\n".join(file.read_text(encoding="utf-8") for file in sorted(folder.glob("test_*.py")))
    found = {int(number) for number in re.findall(r"^def test_invariant_(\d+)_", tests, re.MULTILINE)}

    assert len(lines) == 10
    assert expected == found
