"""Import and export."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import lamina
from lamina.formats.fields import SETTABLE

Cli = Any


def test_what_is_exported_can_be_imported(cli: Cli, filled: dict[str, str], tmp_path: Path) -> None:
    """JSON lines carry every field into an empty store; ids are new ones."""
    cli("update", filled["billing"], "--title", "Owner", "--importance", "0.8", "--valid-until", "2031-01-01")
    cli("export", "-o", "all.jsonl")

    report = cli("import", "all.jsonl", "--store", "copy", "--json").json

    assert (report["added"], report["skipped"], report["format"]) == (4, 0, "jsonl")
    with lamina.open("store", read_only=True) as one, lamina.open("copy", read_only=True) as other:
        before = [{name: getattr(memory, name) for name in SETTABLE} for memory in one.memories.list()]
        after = [{name: getattr(memory, name) for name in SETTABLE} for memory in other.memories.list()]
        ids = {memory.id for memory in one.memories.list()} & {memory.id for memory in other.memories.list()}
    assert before == after
    assert not ids


def test_csv_goes_the_same_way(cli: Cli, filled: dict[str, str]) -> None:
    """The format follows the file's name, and a pipe says it with --format."""
    cli("export", "-o", "all.csv")
    text = cli("export", "--format", "csv").out

    assert len(list(csv.DictReader(io.StringIO(text)))) == 4
    assert cli("import", "all.csv", "--store", "copy", "--json").json["added"] == 4
    assert cli("import", "-", "--format", "csv", "--store", "third", "--json", stdin=text).json["added"] == 4


def test_what_was_superseded_stays_out_of_recall(cli: Cli, filled: dict[str, str]) -> None:
    """Its successor gets another id, so it comes back as one that is no longer valid."""
    cli("add", "We deploy on Thursdays now.", "--supersedes", filled["deploy"])
    for name in ("all.jsonl", "all.csv"):
        cli("export", "-o", name)
        cli("import", name, "--store", f"copy-{name}")

        hits = cli("recall", "which day do we deploy", "--store", f"copy-{name}", "--json").json["hits"]

        texts = [hit["memory"]["text"] for hit in hits]
        assert "We deploy on Thursdays now." in texts
        assert "We deploy on Tuesdays, never on Fridays." not in texts
        assert cli("list", "--store", f"copy-{name}", "--json").json["total"] == 5


def test_export_does_not_overwrite(cli: Cli, filled: dict[str, str], tmp_path: Path) -> None:
    """A file that is there stays, unless --replace says otherwise."""
    target = tmp_path / "all.jsonl"
    target.write_text("mine", encoding="utf-8")

    error = cli("export", "-o", "all.jsonl", "--json", code=4).error
    assert (error["code"], target.read_text(encoding="utf-8")) == ("already-exists", "mine")

    document = cli("export", "-o", "all.jsonl", "--replace", "--json").json
    assert document == {"exported": 4, "format": "jsonl", "path": str(target)}
    assert len(target.read_text(encoding="utf-8").splitlines()) == 4


def test_export_to_standard_output(cli: Cli, filled: dict[str, str]) -> None:
    """Lines for pipes, one document with --json, Markdown for people; filters narrow it."""
    lines = cli("export", "--type", "user").out.splitlines()

    assert [json.loads(line)["id"] for line in lines] == [filled["style"]]
    assert len(cli("export", "--json").json["memories"]) == 4
    assert cli("export", "--type", "user", "--format", "markdown").out.startswith("## Prefers tabs over spaces")
    assert cli("export", "--tag", "nowhere").out == ""
    assert cli("export", "--tag", "nowhere", "--json").json == {"memories": []}


def test_import_reads_text_by_paragraph(cli: Cli, tmp_path: Path) -> None:
    """The source of a text file's paragraphs is the file; they are no thread unless one is named."""
    (tmp_path / "notes.md").write_text("# Head\n\nFirst one.\n\nSecond one.\n", encoding="utf-8")

    human = cli("import", "notes.md", "--tag", "n", "--scope", "team", "--type", "reference")
    memories = cli("list", "--json").json["memories"]

    assert human.out == "2 added, 0 skipped.\n"
    assert "made a new store in " in human.err
    assert "imported into " in human.err
    assert {memory["text"] for memory in memories} == {"# Head\n\nFirst one.", "Second one."}
    assert {memory["position"] for memory in memories} == {None}
    assert {(memory["thread"], memory["source"], memory["scope"], memory["type"]) for memory in memories} == {
        (None, "notes.md", "team", "reference")
    }
    cli("import", "notes.md", "--thread", "t", "--store", "third")
    threaded = cli("list", "--json", "--store", "third").json["memories"]
    assert sorted((memory["thread"], memory["position"]) for memory in threaded) == [("t", 0), ("t", 1)]
    assert cli("import", "notes.md", "--per", "file", "--json", "--store", "other").json["added"] == 1


def test_import_reads_standard_input(cli: Cli) -> None:
    """A pipe's format is told from its first character."""
    text = cli("import", "-", "--json", stdin="One.\n\nTwo.\n").json
    lines = cli("import", "-", "--json", stdin='{"text": "Three."}\n').json

    assert (text["source"], text["format"], text["added"]) == ("standard input", "text", 2)
    assert (lines["format"], lines["added"]) == ("jsonl", 1)


def test_import_says_what_it_skipped_and_why(cli: Cli) -> None:
    """Bad lines are counted and named with their number; good ones are kept."""
    data = '{"text": "good"}\nnot json\n{"text": "good too", "importance": 7}\n{"content": "x"}\n{"text": "last"}\n'

    human = cli("import", "-", "--format", "jsonl", stdin=data)
    report = cli("import", "-", "--format", "jsonl", "--json", "--store", "other", stdin=data).json

    assert human.out == "2 added, 3 skipped.\n"
    assert "skipped: Line 2 of standard input: not JSON" in human.err
    assert [problem["line"] for problem in report["problems"]] == [2, 3, 4]
    assert (report["added"], report["skipped"], report["problems_not_listed"]) == (2, 3, 0)


def test_import_can_stop_at_the_first(cli: Cli) -> None:
    """--strict ends with the error of the line, exit code 2."""
    error = cli("import", "-", "--strict", "--json", code=2, stdin='{"text": "good"}\n{"text": ""}\n').error

    assert (error["code"], error["line"]) == ("invalid-input", 2)


def test_import_maps_columns_and_keeps_the_rest(cli: Cli) -> None:
    """Fields of other tools come in under their own names, the rest as metadata."""
    data = '{"content": "hello there", "role": "user", "n": 3}\n'

    cli("import", "-", "--map", "text=content", "--map", "source=role", "--unknown", "metadata", stdin=data)

    memory = cli("list", "--json").json["memories"][0]
    assert (memory["text"], memory["source"], memory["metadata"]) == ("hello there", "user", {"n": 3})


def test_import_counts_near_duplicates(cli: Cli) -> None:
    """Those of the store and those within the file; --no-duplicates leaves the comparing out."""
    line = "The nightly backup of the billing database starts at two in the morning, number one."
    cli("add", line)

    report = cli("import", "-", "--json", stdin=f"{line}\n\n{line}\n\nSomething else entirely.\n").json
    again = cli("import", "-", stdin=f"{line}\n")
    uncounted = cli("import", "-", "--no-duplicates", stdin="One more.\n")

    assert (report["added"], report["near_duplicates"]) == (3, 2)
    assert again.out == "1 added (1 of them a near-duplicate of what was there), 0 skipped.\n"
    assert "made a new store" not in again.err
    assert uncounted.out == "1 added (near-duplicates not counted), 0 skipped.\n"


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("missing.jsonl",), 3),
        ((".",), 1),
        (("utf16.txt",), 2),
        (("binary.bin",), 2),
        (("bad.csv",), 2),
        (("notes.txt", "--map", "nonsense"), 2),
        (("notes.txt", "--delimiter", "ab"), 2),
        (("notes.txt", "--scope", "no good"), 2),
    ],
)
def test_files_that_cannot_be_read(cli: Cli, tmp_path: Path, args: tuple[str, ...], code: int) -> None:
    """Each has one of our errors with a hint, and nothing is added."""
    (tmp_path / "utf16.txt").write_bytes("hello".encode("utf-16"))
    (tmp_path / "binary.bin").write_bytes(b"\x7fELF\0\0\0")
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    (tmp_path / "notes.txt").write_text("fine\n", encoding="utf-8")

    error = cli("import", *args, "--json", code=code).error

    assert error["hint"]
    assert cli("import", "-", "--json", stdin="").json["added"] == 0
    assert cli("list", "--json").json["total"] == 0


def test_a_large_import_streams(cli: Cli, tmp_path: Path) -> None:
    """Many batches, with near-duplicates not counted by default."""
    path = tmp_path / "many.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for number in range(2500):
            file.write(json.dumps({"text": f"Entry {number} about subject {number % 50}."}) + "\n")

    report = cli("import", "many.jsonl", "--json").json

    assert (report["added"], report["near_duplicates"]) == (2500, None)
    assert len(cli("export").out.splitlines()) == 2500


def test_an_interrupted_import_says_what_it_kept(place: Path, cli: Cli, tmp_path: Path) -> None:
    """After Ctrl-C the number that was added is told, and it is the number that is there."""
    read, write = os.pipe()
    importing = subprocess.Popen(
        [sys.executable, "-m", "lamina.cli", "import", "-", "--per", "line", "--json"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3] / "src")},
        stdin=read,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(read)
    with os.fdopen(write, "wb") as pipe:
        pipe.write(b"".join(b"Line number %d of the log.\n" % number for number in range(3000)))
        pipe.flush()
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if place.is_dir() and cli("list", "--json").json["total"]:
                break
            time.sleep(0.02)
        importing.send_signal(signal.SIGINT)
        _, said = importing.communicate(timeout=20)

    error = json.loads(said.splitlines()[-1])["error"]
    assert importing.returncode in (130, -signal.SIGINT)  # a shell shows both as 130
    assert error["added"] == cli("list", "--json").json["total"] > 0
