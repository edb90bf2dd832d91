"""A command line to type at, with a store of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from lamina.cli.app import root

_SOURCE = str(Path(__file__).resolve().parents[3] / "src")


@dataclass(frozen=True)
class Answer:
    """What one command line did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as the one JSON document that it has to be."""
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        """The error that was printed as JSON."""
        assert self.out == ""
        return json.loads(self.err.splitlines()[-1])["error"]


Cli = Callable[..., Answer]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that LAMINA_STORE names; no store is there yet."""
    folder = tmp_path / "store"
    monkeypatch.setenv("LAMINA_STORE", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def cli(place: Path) -> Cli:
    """Runs a command line in this process, as ``cli("add", "text")``; ``code`` is what it has to end with."""

    def run(*args: str, code: int = 0, stdin: str | bytes | None = None) -> Answer:
        result = CliRunner().invoke(root, list(args), input=stdin, catch_exceptions=False)
        answer = Answer(result.exit_code, result.stdout, result.stderr)
        assert answer.code == code, f"lamina {' '.join(args)} ended with {answer.code}:\n{answer.out}{answer.err}"
        assert "Traceback" not in answer.err
        return answer

    return run


@pytest.fixture
def process(place: Path) -> Cli:
    """The same in a process of its own."""

    def run(*args: str, code: int = 0, stdin: bytes = b"", **environment: str) -> Answer:
        done = subprocess.run(
            [sys.executable, "-m", "lamina.cli", *args],
            env={**os.environ, "PYTHONPATH": _SOURCE, **environment},
            input=stdin,
            capture_output=True,
            check=False,
        )
        answer = Answer(done.returncode, done.stdout.decode(), done.stderr.decode())
        assert answer.code == code, f"lamina {' '.join(args)} ended with {answer.code}:\n{answer.out}{answer.err}"
        return answer

    return run


@pytest.fixture
def filled(cli: Cli) -> dict[str, str]:
    """A store with four memories; their ids by a short name."""
    texts = {
        "deploy": ("We deploy on Tuesdays, never on Fridays.", "--type", "project", "--tag", "release"),
        "billing": ("Ana owns the billing service.", "--type", "project", "--tag", "billing,people"),
        "style": ("Prefers tabs over spaces in Makefiles.", "--type", "user", "--metadata", "lang=make"),
        "outage": ("The search index was down for nine minutes.", "--metadata", "minutes=9", "--thread", "ops"),
    }
    return {name: cli("add", *args).out.strip() for name, args in texts.items()}
