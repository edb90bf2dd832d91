"""The snippets of README and guides run as they are printed, and their links lead somewhere."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

FENCE = re.compile(
    r"^(?P<skip><!-- not run: [^\n]+ -->\n)?```(?P<language>\w+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)
CODE = re.compile(r"^```.*?^```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?P<target>[^)#]+)(?:#[^)]*)?\)")
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "examples/README.md")
SCRIPTED = ("README.md", "docs/recall.md", "docs/errors.md", "docs/memory-directory.md", "docs/patterns.md")


@dataclass(frozen=True)
class Snippet:
    """One fenced block of a page."""

    language: str
    code: str


def _links(page: Path) -> list[str]:
    """The targets of a page's relative links; what stands in code is none."""
    text = CODE.sub("", page.read_text(encoding="utf-8"))
    return [match["target"] for match in LINK.finditer(text) if "://" not in match["target"]]


def _snippets(page: Path) -> list[Snippet]:
    text = page.read_text(encoding="utf-8")
    return [Snippet(match["language"], match["code"]) for match in FENCE.finditer(text) if match["skip"] is None]


def _session(blocks: list[str], folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run blocks one after the other in one shell, which ends at the first command that fails."""
    command = ["bash", "-euo", "pipefail", "-c", "\n".join(blocks)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def shell(tmp_path: Path, repository: Path, clean_environment: Path) -> dict[str, str]:
    """Return an environment in which `lamina` is the program under test and stores go to a temporary folder."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "lamina"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m lamina.cli "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    source = str(repository / "src")
    return {
        **os.environ,
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": source,
        "HOME": str(clean_environment),
    }


@pytest.fixture
def transcripts(shell: dict[str, str]) -> Path:
    """Return a home's folder of a coding assistant's transcripts: four runs that search, edit and test."""
    folder = Path(shell["HOME"]) / ".claude" / "projects" / "app"
    folder.mkdir(parents=True)
    calls: list[tuple[str, dict[str, str]]] = [
        ("Grep", {"pattern": "def parse"}),
        ("Edit", {"file_path": "/code/app/src/parser.py", "old_string": "a", "new_string": "b"}),
        ("Bash", {"command": "pytest -q"}),
    ]
    for run in range(4):
        lines: list[dict[str, object]] = []
        for number, (tool, arguments) in enumerate(calls):
            id, at = f"call-{run}-{number}", f"2026-11-{3 + 7 * run:02}T10:00:{2 * number:02}.000Z"
            common = {"sessionId": f"run-{run}", "cwd": "/code/app", "timestamp": at}
            call = {"type": "tool_use", "id": id, "name": tool, "input": arguments}
            result = {"type": "tool_result", "tool_use_id": id, "content": "ok", "is_error": False}
            spoken = {"role": "assistant", "content": [call]}
            lines.append({**common, "type": "assistant", "uuid": f"a-{id}", "message": spoken})
            lines.append(
                {**common, "type": "user", "uuid": f"u-{id}", "message": {"role": "user", "content": [result]}}
            )
        (folder / f"run-{run}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return folder


@pytest.mark.usefixtures("transcripts")
def test_shell_snippets_run(tmp_path: Path, repository: Path, shell: dict[str, str]) -> None:
    """The shell blocks of the README succeed in order, in one shell as a reader types them, in an empty folder."""
    blocks = [snippet.code for snippet in _snippets(repository / "README.md") if snippet.language == "sh"]
    work = tmp_path / "work"
    work.mkdir()

    assert len(blocks) >= 2
    done = _session(blocks, work, shell)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "changed  team/project_release_freeze.md" in done.stdout
    assert "ok  nothing is wrong" in done.stdout
    assert "4 new of 4 sessions" in done.stdout
    assert "edit → run-tests" in done.stdout[done.stdout.index("learned from 4 new") :]
    assert [path.name for path in work.iterdir()] == ["my-memory"]
    assert [path.parent.name for path in work.rglob(".lamina")] == ["my-memory"]


def test_shell_snippets_answer(tmp_path: Path, repository: Path, shell: dict[str, str]) -> None:
    """The README's own question finds the README's own memory first."""
    block = next(snippet.code for snippet in _snippets(repository / "README.md") if snippet.language == "sh")
    question = 'lamina recall "which port is staging on?"'

    assert question in block
    script = block[: block.index(question)] + question + " --limit 1\n"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, env=shell, capture_output=True, text=True, check=True
    )
    assert "5433" in done.stdout


def test_the_guides_shell_session_runs(tmp_path: Path, repository: Path, shell: dict[str, str]) -> None:
    """The shell blocks of the guide to the memory directory are one session, and end in a folder that is in order."""
    page = repository / "docs" / "memory-directory.md"
    blocks = [snippet.code for snippet in _snippets(page) if snippet.language == "sh"]
    done = _session(blocks, tmp_path, shell)

    assert len(blocks) >= 4
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "changed  team/project_release_freeze.md" in done.stdout
    assert (tmp_path / "my-memory" / "team" / "feedback_no_mocks_of_the_database.md").is_file()
    assert (tmp_path / "my-memory" / "team" / ".gitattributes").is_file()


def test_the_readmes_six_lines_show_the_memory_directory(repository: Path) -> None:
    """One block of six commands adds a memory as a file, shows it and the index, takes an edit over and checks."""
    blocks = [snippet.code for snippet in _snippets(repository / "README.md") if snippet.language == "sh"]
    (block,) = [block for block in blocks if "lamina sync" in block]
    lines = [line for line in block.splitlines() if line.strip()]

    assert len(lines) == 6
    for command in ("lamina add", "cat ", "lamina index", ">> ", "lamina sync", "lamina index --check"):
        assert any(command in line for line in lines), command


def test_every_picture_is_drawn_by_the_script(repository: Path) -> None:
    """Each picture that a page shows is one of those that `make docs` draws, and each drawn one is shown."""
    script = (repository / "scripts" / "docs.py").read_text(encoding="utf-8")
    drawn = set(re.findall(r'^    "([\w-]+\.svg)":', script, re.MULTILINE))
    pages = [repository / "README.md", *(repository / "docs").rglob("*.md")]
    shown = {name for page in pages for name in re.findall(r"images/([\w-]+\.svg)", page.read_text(encoding="utf-8"))}

    assert drawn == shown == {file.name for file in (repository / "docs" / "images").iterdir()}
    for file in (repository / "docs" / "images").iterdir():
        text = file.read_text(encoding="utf-8")
        assert "/tmp/" not in text
        assert "http" not in text.replace("http://www.w3.org/2000/svg", "")


def test_the_guide_to_states_runs(
    tmp_path: Path, repository: Path, shell: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guide's Python blocks, one after the other, leave a store in which its shell block succeeds and finds all."""
    snippets = _snippets(repository / "docs" / "states.md")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "page"}
    for number, snippet in enumerate(one for one in snippets if one.language == "python"):
        exec(compile(snippet.code, f"states.md, block {number + 1}", "exec"), names)
    done = _session([one.code for one in snippets if one.language == "sh"], tmp_path, shell)

    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert 20_008 == (tmp_path / "grid.bin").stat().st_size
    assert "deep" in done.stdout
    assert "ok  nothing is wrong" in done.stdout


@pytest.mark.parametrize("page", SCRIPTED)
def test_python_snippets_run(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch, page: str) -> None:
    """Every Python block of a page runs, in order, in an empty folder."""
    blocks = [snippet.code for snippet in _snippets(repository / page) if snippet.language == "python"]
    monkeypatch.chdir(tmp_path)

    assert blocks
    for number, block in enumerate(blocks):
        exec(compile(block, f"{page}, Python block {number + 1}", "exec"), {"__name__": "page"})


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(repository: Path, page: str) -> None:
    """A relative link of a page at the root names a file of the project."""
    path = repository / page
    missing = [target for target in _links(path) if not (path.parent / target).resolve().exists()]

    assert missing == []


def test_links_of_the_documentation_lead_somewhere(repository: Path) -> None:
    """A relative link below docs/ names a file of the project."""
    missing = [
        (path.name, target)
        for path in (repository / "docs").rglob("*.md")
        for target in _links(path)
        if not (path.parent / target).resolve().exists()
    ]

    assert missing == []
