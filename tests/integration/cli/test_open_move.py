"""``lamina open``, ``lamina add --edit`` and ``lamina move``."""

from __future__ import annotations

import json
import os
import shlex
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Any
Editor = Callable[[str], None]

TOKEN = "ghp_" + "a1B2c3D4e5F6g7H8i9J0" + "k1L2m3N4o5P6q7R8"  # in two parts, so that no scanner takes it for a real one


@pytest.fixture
def editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Editor:
    """Sets an editor whose program is a few lines of Python; ``text`` is the file's, and is written back."""

    def install(body: str) -> None:
        script = tmp_path / "my editor.py"
        script.write_text(
            "import os, sys\n"
            "path = sys.argv[-1]\n"
            "text = open(path, encoding='utf-8').read() if os.path.exists(path) else ''\n"
            f"{body}\n"
            "if text is not None:\n"
            "    open(path, 'w', encoding='utf-8').write(text)\n"
        )
        monkeypatch.delenv("VISUAL", raising=False)
        monkeypatch.setenv("EDITOR", f"{shlex.quote(sys.executable)} {shlex.quote(str(script))} --wait")

    return install


def _add(cli: Cli, title: str, text: str = "Never on Friday.", *options: str, type: str = "project") -> str:
    return str(cli("add", text, "--type", type, "--title", title, *options).out.strip())


# --- open ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reference", ["Deploy day", "project_deploy_day", "project_deploy_day.md", "id", "prefix"])
def test_open_a_file_by_any_name(cli: Cli, place: Path, editor: Editor, reference: str) -> None:
    """Title, file name or id lead to the file; what was edited is recalled afterwards."""
    id = _add(cli, "Deploy day")
    editor("text = text.replace('Friday', 'Monday')")
    answer = cli("open", {"id": id, "prefix": id[:14]}.get(reference, reference))
    assert answer.out == "changed  project_deploy_day.md\n"
    assert "Monday" in (place / "project_deploy_day.md").read_text()
    assert "Monday" in cli("get", id, "--text").out


def test_open_without_a_change(cli: Cli, place: Path, editor: Editor) -> None:
    """A file that was only looked at is said to be unchanged, and is the same byte for byte."""
    _add(cli, "Deploy day")
    before = (place / "project_deploy_day.md").read_bytes()
    editor("text = None")
    assert cli("open", "Deploy day").out == "project_deploy_day.md was not changed.\n"
    assert (place / "project_deploy_day.md").read_bytes() == before


def test_open_an_index(cli: Cli, place: Path, editor: Editor) -> None:
    """MEMORY.md and the team's open like a memory; one that is not there is an error."""
    _add(cli, "Deploy day")
    editor("text += 'Prose below.\\n'")
    assert cli("open", "MEMORY.md").out == "changed  MEMORY.md\n"
    assert (place / "MEMORY.md").read_text().endswith("Prose below.\n")
    assert "lamina index --fix" in cli("open", "team/MEMORY.md", code=3).err


def test_open_says_what_is_wrong(cli: Cli, editor: Editor) -> None:
    """A file that is left with conflict markers ends with 1 and names them; it can be opened again and mended."""
    _add(cli, "Deploy day")
    editor("text += '<<<<<<< a\\n1\\n=======\\n2\\n>>>>>>> b\\n'")
    answer = cli("open", "Deploy day", code=1)
    assert "conflict-markers" in answer.err
    editor("text = text.split('<<<<<<<')[0]")
    cli("open", "project_deploy_day.md")
    assert cli("sync").out == "Nothing changed in 1 memory file.\n"


def test_open_a_file_that_is_no_memory_yet(cli: Cli, place: Path, editor: Editor) -> None:
    """A file that could not be taken over can be named by its path, and is a memory once it is mended."""
    cli("init")
    (place / "bad.md").write_text("---\nname: B\n---\n<<<<<<< a\n1\n=======\n2\n>>>>>>> b\n")
    editor("text = text.split('<<<<<<<')[0] + 'Mended.\\n'")
    cli("open", "bad.md")
    assert "Mended." in cli("get", cli("list", "--json").json["memories"][0]["id"], "--text").out


@pytest.mark.parametrize("reference", ["../outside.md", "/etc/passwd.md", "%2e%2e/outside.md", ".lamina/tmp/x.md"])
def test_open_leads_nowhere_else(cli: Cli, place: Path, editor: Editor, reference: str) -> None:
    """No reference opens a file outside the folder, or one of the engine's."""
    _add(cli, "Deploy day")
    (place.parent / "outside.md").write_text("secret")
    editor("text += 'touched'")
    cli("open", reference, code=2)
    assert (place.parent / "outside.md").read_text() == "secret"


def test_open_keeps_to_the_scopes_of_the_handle(cli: Cli, place: Path, editor: Editor) -> None:
    """With --scope team a private file is not there."""
    _add(cli, "Deploy day")
    editor("text += 'touched'")
    cli("open", "project_deploy_day.md", "--scope", "team", code=3)
    cli("open", "MEMORY.md", "--scope", "team", code=3)
    assert "touched" not in (place / "project_deploy_day.md").read_text()


def test_open_a_row(cli: Cli, place: Path, editor: Editor) -> None:
    """A memory without a file is edited as a draft, updated, and the draft goes."""
    id = cli("add", "The port is 5432.", "--tag", "ops", "--metadata", "env=staging").out.strip()
    editor(
        "assert 'ops' in text and 'staging' in text\n"
        "text = text.replace('5432', '5433').replace('name: ', 'name: Port')"
    )
    answer = cli("open", id, "--json").json
    assert sorted(answer["fields"]) == ["text", "title"]
    memory = cli("get", id, "--json").json["memory"]
    assert (memory["text"], memory["title"], memory["tags"]) == ("The port is 5433.", "Port", ["ops"])
    assert memory["metadata"] == {"env": "staging"}
    assert list((place / ".lamina" / "tmp").iterdir()) == []


def test_open_a_row_without_a_change(cli: Cli, editor: Editor) -> None:
    """A draft that is saved as it was changes nothing, so that history has one entry."""
    id = cli("add", "A text that ends with a line end.\n", "--importance", "0.7", "--thread", "t").out.strip()
    editor("")
    assert "was not changed" in cli("open", id).out
    assert len(cli("history", id, "--json").json["changes"]) == 1


def test_open_a_row_and_empty_it(cli: Cli, editor: Editor) -> None:
    """An empty text leaves the memory as it is, and says how to delete it."""
    id = cli("add", "The port is 5432.").out.strip()
    editor("text = ''")
    assert "lamina forget" in cli("open", id, code=2).err
    assert cli("get", id, "--text").out == "The port is 5432.\n"


def test_a_draft_that_cannot_be_stored_is_kept(cli: Cli, place: Path, editor: Editor) -> None:
    """Where the update fails, what was written is kept, and the error says where."""
    id = cli("add", "The port is 5432.").out.strip()
    editor("text = text.replace('type: record', 'type: nonsense') + 'An hour of work.'")
    error = cli("open", id, "--json", code=2).error
    assert "An hour of work." in Path(error["kept"]).read_text()
    assert stat.S_IMODE(Path(error["kept"]).stat().st_mode) == 0o600
    assert place in Path(error["kept"]).parents


def test_no_editor(cli: Cli, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an editor the error names the variables and the file."""
    _add(cli, "Deploy day")
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", "  ")
    answer = cli("open", "Deploy day", code=2)
    assert "VISUAL or EDITOR" in answer.err
    assert str(place / "project_deploy_day.md") in answer.err


@pytest.mark.parametrize("said", ["no-such-editor-anywhere", "'unclosed"])
def test_an_editor_that_cannot_start(cli: Cli, monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    """A program that is not there, or no command at all, is a clear error."""
    _add(cli, "Deploy day")
    monkeypatch.setenv("VISUAL", said)
    assert "Traceback" not in cli("open", "Deploy day", code=2).err


def test_no_shell_runs_the_editor(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What would be a second command in a shell is an argument."""
    _add(cli, "Deploy day")
    monkeypatch.setenv("VISUAL", f"true ; touch {tmp_path}/pwned")
    cli("open", "Deploy day")
    assert not (tmp_path / "pwned").exists()


def test_an_editor_that_fails(cli: Cli, editor: Editor) -> None:
    """A failed editor leaves a row alone; of a file it is noted, since the file is what it is."""
    id = cli("add", "The port is 5432.").out.strip()
    _add(cli, "Deploy day")
    editor("sys.exit(3)")
    assert "ended with 3" in cli("open", id, code=2).err
    assert "ended with 3" in cli("open", "Deploy day").err


def test_ctrl_c_is_the_editors(cli: Cli, place: Path, tmp_path: Path) -> None:
    """An interrupt while the editor runs goes to the editor; the command waits for it and finishes."""
    _add(cli, "Deploy day")
    script = tmp_path / "ed.py"
    script.write_text(
        "import pathlib, signal, sys, time\n"
        "got = []\n"
        "signal.signal(signal.SIGINT, lambda *_: got.append(1))\n"
        "print('ready', flush=True)\n"
        "end = time.monotonic() + 20\n"
        "while not got and time.monotonic() < end: time.sleep(0.02)\n"
        "file = pathlib.Path(sys.argv[-1]); file.write_text(file.read_text() + 'After Ctrl-C.\\n')\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-m", "lamina.cli", "open", "Deploy day"],
        env={**os.environ, "EDITOR": f"{sys.executable} {script}", "VISUAL": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    time.sleep(0.1)
    os.killpg(child.pid, signal.SIGINT)
    out, err = child.communicate(timeout=30)
    assert (child.returncode, out) == (0, "changed  project_deploy_day.md\n"), err
    assert "After Ctrl-C." in (place / "project_deploy_day.md").read_text()


# --- add --edit, and what add says -----------------------------------------------------------------------------------


def test_add_edit(cli: Cli, place: Path, editor: Editor) -> None:
    """What is written in the editor becomes a memory with its front matter, and the draft goes."""
    editor(
        "text = text.replace('name: ', 'name: \"Billing: who\"')\n"
        "text = text.replace('description: ', 'description: its owner') + 'Ana.'"
    )
    answer = cli("add", "--edit", "--tag", "people", "--json").json
    memory = answer["memory"]
    assert (memory["title"], memory["description"], memory["text"]) == ("Billing: who", "its owner", "Ana.")
    assert (memory["type"], memory["tags"], memory["path"]) == ("project", ["people"], "project_billing_who.md")
    assert list((place / ".lamina" / "tmp").iterdir()) == []


def test_add_edit_starts_with_what_is_given(cli: Cli, editor: Editor) -> None:
    """Text, type and scope of the command line are in the draft, or kept beside it."""
    editor("assert 'Given text.' in text and 'feedback' in text\ntext += 'More.'")
    memory = cli("add", "Given text.", "--edit", "--type", "feedback", "--scope", "team", "--json").json["memory"]
    assert (memory["text"], memory["type"], memory["scope"]) == ("Given text.\nMore.", "feedback", "team")


@pytest.mark.parametrize("body", ["text = ''", "text = None", "os.remove(path); text = None", "sys.exit(1)"])
def test_add_edit_and_nothing_written(cli: Cli, place: Path, editor: Editor, body: str) -> None:
    """An empty text, a removed draft and a failed editor add nothing, and end with 1."""
    editor(body)
    assert "Nothing was added" in cli("add", "--edit", code=1).err
    assert cli("list", "--json").json["total"] == 0
    assert list((place / ".lamina" / "tmp").iterdir()) == []


def test_add_edit_that_is_refused_keeps_the_draft(cli: Cli, editor: Editor) -> None:
    """A secret for the team is refused, and the text is not lost."""
    editor(f"text += 'The token is {TOKEN}'")
    error = cli("add", "--edit", "--scope", "team", "--json", code=2).error
    assert TOKEN in Path(error["kept"]).read_text()
    assert TOKEN not in json.dumps(error)


def test_add_says_where_and_what_to_know(cli: Cli, place: Path) -> None:
    """Add names the file, and notes a date that will not be understood later; in JSON as notices."""
    answer = cli("add", "We decided it yesterday.", "--type", "project", "--title", "Choice")
    assert str(place / "project_choice.md") in answer.err
    assert "note: 'yesterday'" in answer.err
    notices = cli("add", "Due by next week.", "--type", "project", "--title", "Due", "--json").json["notices"]
    assert len(notices) == 1


# --- move ------------------------------------------------------------------------------------------------------------


def test_move_to_the_team_and_back(cli: Cli, place: Path) -> None:
    """File and pointer change folders, the id stays, and modes follow the scope."""
    id = _add(cli, "Deploy day")
    answer = cli("move", "Deploy day", "team")
    assert answer.out == "moved  project_deploy_day.md → team/project_deploy_day.md\n"
    assert not (place / "project_deploy_day.md").exists()
    assert "project_deploy_day.md" in (place / "team" / "MEMORY.md").read_text()
    assert "project_deploy_day.md" not in (place / "MEMORY.md").read_text()
    assert cli("move", id, "private", "--json").json["to"] == {"scope": "private", "path": "project_deploy_day.md"}
    assert stat.S_IMODE((place / "project_deploy_day.md").stat().st_mode) == 0o600


def test_move_to_another_name(cli: Cli, place: Path) -> None:
    """A name that ends with .md renames, one that ends with / keeps the name; the pointer follows."""
    id = _add(cli, "Deploy day")
    cli("move", "Deploy day", "how-to/deploy.md")
    assert "(how-to/deploy.md)" in (place / "MEMORY.md").read_text()
    cli("move", id, "notes/")
    assert (place / "notes" / "deploy.md").is_file()
    assert cli("index", "--check", "--json").json["ok"] is True


def test_move_to_a_name_in_the_team(cli: Cli, place: Path) -> None:
    """A path below team/ changes scope and name at once."""
    _add(cli, "Deploy day")
    cli("move", "Deploy day", "team/deploy.md")
    assert (place / "team" / "deploy.md").is_file()
    assert "(deploy.md)" in (place / "team" / "MEMORY.md").read_text()


def test_move_to_a_scope_of_rows(cli: Cli, place: Path) -> None:
    """In a scope without files the memory is a row, and its file and pointer are gone."""
    id = _add(cli, "Deploy day")
    assert "are gone" in cli("move", id, "user/ana").out
    assert not (place / "project_deploy_day.md").exists()
    memory = cli("get", id, "--json").json["memory"]
    assert (memory["scope"], memory["path"], memory["text"]) == ("user/ana", None, "Never on Friday.")


def test_a_secret_is_not_moved_to_the_team(cli: Cli, place: Path) -> None:
    """A secret is named by its kind and never shown, by a dry run too; the file stays where it is."""
    _add(cli, "Token", f"It is {TOKEN}", type="reference")
    for more in ((), ("--dry-run",)):
        answer = cli("move", "Token", "team", *more, code=2)
        assert "GitHub token" in answer.err
        assert TOKEN not in answer.err
    assert (place / "reference_token.md").is_file()


@pytest.mark.parametrize("destination", ["team", "notes/x.md", "user/ana", "team/x.md"])
def test_a_dry_run_moves_nothing(cli: Cli, place: Path, destination: str) -> None:
    """--dry-run says what the move then does, and changes no byte."""
    id = _add(cli, "Deploy day")
    before = {path: path.read_bytes() for path in place.rglob("*.md")}
    planned = cli("move", id, destination, "--dry-run", "--json").json
    assert {path: path.read_bytes() for path in place.rglob("*.md")} == before
    assert planned["dry_run"] is True
    done = cli("move", id, destination, "--json").json
    assert done["to"] == planned["to"]


def test_move_that_cannot_be(cli: Cli, place: Path) -> None:
    """A taken name, a way out of the folder, an index's name, a record's file name and an unknown memory."""
    id = _add(cli, "Deploy day")
    _add(cli, "Other")
    row = cli("add", "A record.").out.strip()
    cli("move", id, "project_other.md", code=4)
    cli("move", id, "../out.md", code=2)
    cli("move", id, "MEMORY.md", code=2)
    cli("move", row, "row.md", code=2)
    cli("move", "nothing like it", "team", code=3)
    assert (place / "project_deploy_day.md").is_file()


def test_move_to_where_it_is(cli: Cli) -> None:
    """A move to its own place does nothing, and says so."""
    id = _add(cli, "Deploy day")
    assert "is there already" in cli("move", id, "private").out
    assert len(cli("history", id, "--json").json["changes"]) == 1


def test_a_bare_word_is_no_new_scope_for_a_file(cli: Cli, place: Path) -> None:
    """A name without .md that is no scope yet is refused: the file would be gone."""
    cli("add", "We ship on Tuesdays.", "--type", "project", "--title", "Plain")

    answer = cli("move", "Plain", "renamed", code=2)

    assert "renamed.md" in answer.err
    assert (place / "project_plain.md").is_file()


def test_a_name_that_is_taken_in_the_team_stops_it_before_it_begins(cli: Cli, place: Path) -> None:
    """A move to a scope and a name is refused as a whole where the name is taken."""
    cli("add", "Taken.", "--type", "project", "--title", "Taken", "--scope", "team")
    cli("add", "We ship on Tuesdays.", "--type", "project", "--title", "Plain")

    cli("move", "Plain", "team/project_taken.md", code=4)

    assert (place / "project_plain.md").is_file()
    assert {"MEMORY.md", "project_taken.md"} == {file.name for file in (place / "team").iterdir()}
