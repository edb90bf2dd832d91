"""Writes the generated documentation: the command reference, and the pictures of README and guides.

``python scripts/docs.py`` writes all, ``--check`` writes nothing and fails when the reference is out of date.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime, timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "cli.md"
IMAGES = ROOT / "docs" / "images"
PEOPLE = "/home/ana"
"""What stands in pictures instead of the temporary folder."""
WIDTH = 100
QUESTION = "what happens to my memories when the power goes out?"

_HEAD = """# Command line

<!-- Written by `make docs` from --help; do not edit. -->

What `--json` prints is described in [json.md](json.md), errors and exit codes in [errors.md](errors.md).
"""

# rich's own template fetches a font from the network; this one uses what is installed.
_TEMPLATE = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width; }}
.{unique_id}-title {{ font-size: 18px; font-family: ui-sans-serif, system-ui, sans-serif; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" /></clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def reference() -> str:
    """Return the command reference, made from every command's own help."""
    import click

    from lamina.cli.app import COMMANDS, root

    def fenced(command: click.Command, name: str, parent: click.Context | None) -> str:
        context = click.Context(command, info_name=name, parent=parent, terminal_width=WIDTH, max_content_width=WIDTH)
        return f"```text\n{command.get_help(context).rstrip()}\n```\n"

    parts = [_HEAD, fenced(root, "lamina", None)]
    above = click.Context(root, info_name="lamina", terminal_width=WIDTH, max_content_width=WIDTH)
    for name in COMMANDS:
        command = root.get_command(above, name)
        if command is None:
            raise SystemExit(f"lamina has no command {name!r}, although its table lists it")
        parts.append(f"## lamina {name}\n\n{fenced(command, name, above)}")
        if isinstance(command, click.Group):
            group = click.Context(command, info_name=name, parent=above)
            for inner in command.list_commands(group):
                found = command.get_command(group, inner)
                assert found is not None
                if found.hidden:
                    continue
                parts.append(f"### lamina {name} {inner}\n\n{fenced(found, inner, group)}")
    return "\n".join(parts)


def lamina(*arguments: str, code: int = 0) -> str:
    """Run one command as on a colour terminal and return what it wrote, notes after answers."""
    from lamina.cli.app import run
    from lamina.cli.shell import Shell

    with redirect_stdout(io.StringIO()) as output, redirect_stderr(io.StringIO()) as notes:
        found = run(list(arguments), obj=Shell(color=True, width=WIDTH))
    if found != code:
        raise SystemExit(f"lamina {' '.join(arguments)} ended with {found}: {notes.getvalue()}")
    return output.getvalue() + notes.getvalue()


def drawn(title: str, *steps: tuple[str, str]) -> str:
    """Return an SVG of commands and what they printed, in the colours of a terminal."""
    from rich.console import Console
    from rich.text import Text

    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    for number, (command, answer) in enumerate(steps):
        if number:
            console.print()
        console.print(Text.assemble(("$ ", "green"), command))
        if answer:
            console.print()
            console.print(Text.from_ansi(answer.rstrip()))
    return console.export_svg(title=title, code_format=_TEMPLATE, unique_id="lamina")


def recall_picture(folder: Path) -> str:
    """A real answer to a real question."""
    store = str(folder / "store")
    lamina("--store", store, "import", str(ROOT / "examples" / "tour.jsonl"))
    answer = lamina("--store", store, "recall", QUESTION, "--limit", "3")
    return drawn("lamina", (f'lamina recall "{QUESTION}" --limit 3', answer))


def notes(folder: Path, files: dict[str, tuple[str, str, str]]) -> None:
    """Write memory files as a person's editor would: ``{name: (title, description, text)}``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (title, description, text) in files.items():
        kind = name.split("_")[0]
        front = f"---\nname: {title}\ndescription: {description}\ntype: {kind}\n---\n\n"
        (folder / name).write_text(f"{front}{text}\n", encoding="utf-8")


PRIVATE = {
    "user_ana.md": ("Ana", "backend engineer, new to Go", "Ana writes Python for a living and is new to Go."),
    "feedback_no_mocks.md": (
        "No mocks of the database",
        "tests run against a real one",
        "Tests run against a real database.\n\n**Why:** A mocked migration passed and broke production.",
    ),
}
TEAM = {
    "project_release_freeze.md": (
        "Release freeze",
        "no merges from 2026-03-05 until the audit is done",
        "Merges stop on 2026-03-05.\n\n**Why:** The auditors sign one commit.",
    ),
    "reference_dashboards.md": ("Dashboards", "where latency is watched", "Latency: `grafana/d/api`."),
}


def index_of(folder: Path, title: str, files: dict[str, tuple[str, str, str]]) -> None:
    """Write the index of memory files."""
    lines = [f"- [{name}]({file}) — {hook}" for file, (name, hook, _) in files.items()]
    (folder / "MEMORY.md").write_text(f"# {title}\n\n" + "\n".join(lines) + "\n", encoding="utf-8")


def shop(folder: Path) -> Path:
    """Return a small memory directory with both scopes, opened once."""
    store = folder / "shop" / "memory"
    notes(store, PRIVATE)
    notes(store / "team", TEAM)
    index_of(store, "Memory", PRIVATE)
    index_of(store / "team", "Team memory", TEAM)
    lamina("--store", str(store), "init")
    return store


def index_picture(folder: Path) -> str:
    """What an agent loads."""
    store = shop(folder)
    lamina("--store", str(store), "index")
    return drawn("lamina index", ("lamina index", lamina("--store", str(store), "index")))


def check_picture(folder: Path) -> str:
    """An index that people and programs have neglected."""
    store = shop(folder)
    notes(store, {"project_prices.md": ("Prices", "rounding", "Prices round half up. See [[project_currencies]].")})
    with (store / "MEMORY.md").open("a", encoding="utf-8") as index:
        index.write("- [Old runbook](reference_runbook.md) — gone\n- [Ana again](user_ana.md) — a second line\n")
    where = ("--store", str(store))
    shown = lamina(*where, "index", "--check", code=7)
    planned = lamina(*where, "index", "--fix", "--dry-run")
    return drawn("lamina index --check", ("lamina index --check", shown), ("lamina index --fix --dry-run", planned))


def sync_picture(folder: Path) -> str:
    """What people did to the files since the last time."""
    store = shop(folder)
    notes(store, {"project_prices.md": ("Prices", "rounding", "Prices round half up.")})
    with (store / "user_ana.md").open("a", encoding="utf-8") as file:
        file.write("She reviews on Fridays.\n")
    (store / "team" / "project_release_freeze.md").rename(store / "team" / "project_freeze_2026.md")
    (store / "feedback_no_mocks.md").unlink()
    broken = "---\ntype: project\n---\n\n<<<<<<< HEAD\nDeploys at noon.\n=======\nDeploys at ten.\n>>>>>>> theirs\n"
    (store / "team" / "project_deploys.md").write_text(broken, encoding="utf-8")
    return drawn("lamina sync", ("lamina sync", lamina("--store", str(store), "sync")))


def git(folder: Path, *arguments: str, who: str = "Ana", hours: float = 0) -> None:
    """Run git for one of two people, so many hours ago."""
    moment = (datetime.now(UTC) - timedelta(hours=hours)).isoformat(timespec="seconds")
    person = {"NAME": who, "EMAIL": f"{who.lower()}@example.org", "DATE": moment}
    own = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in person.items()}
    environment = {**os.environ, **own, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    command = ["git", "-C", str(folder), *arguments]
    subprocess.run(command, check=True, capture_output=True, env=environment)


def team_picture(folder: Path) -> str:
    """Two clones: one has committed and pushed, the other has fetched, committed and edited."""
    store = shop(folder)
    project, other, origin = store.parent, folder / "bo", folder / "origin.git"
    (project / ".gitignore").write_text("/memory/*.md\n", encoding="utf-8")  # private memories stay at home
    git(folder, "init", "--quiet", "--bare", "--initial-branch=main", str(origin))
    git(folder, "init", "--quiet", "--initial-branch=main", str(project))
    git(project, "add", ".")
    git(project, "commit", "--quiet", "-m", "Team memory", hours=75)
    git(project, "remote", "add", "origin", str(origin))
    git(project, "push", "--quiet", "--set-upstream", "origin", "main")
    git(folder, "clone", "--quiet", str(origin), str(other))
    notes(other / "memory" / "team", {"project_deploys.md": ("Deploys", "at ten", "Deploys go out at ten.")})
    git(other, "add", ".")
    git(other, "commit", "--quiet", "-m", "When deploys go out", who="Bo", hours=20)
    git(other, "push", "--quiet")
    git(project, "fetch", "--quiet")
    with (store / "team" / "reference_dashboards.md").open("a", encoding="utf-8") as file:
        file.write("Errors: `grafana/d/errors`.\n")
    git(project, "commit", "--quiet", "-a", "-m", "Where errors are watched", hours=2)
    notes(store / "team", {"project_prices.md": ("Prices", "rounding", "Prices round half up.")})
    return drawn("lamina team status", ("lamina team status", lamina("--store", str(store), "team", "status")))


def grid_picture(folder: Path) -> str:
    """A grid as the terminal shows it."""
    import lamina as package

    store = folder / "store"
    grid = package.ToroidalGrid(50, 36, metadata={"user_id": "ada"})
    for topic, radius in (("the sea", 9), ("coffee", 6), ("trains", 7)):
        grid.activate_radius(*grid.cell_of(topic), radius)
    grid.diffuse(4, package.DiffusionConfig(decay_rate=0.0))
    with package.open(store, embedder="none") as opened:
        opened.states.commit("grid", grid)
    shown = lamina("--store", str(store), "state", "show", "grid", "--picture").splitlines()
    drawn_rows = shown[-grid.height // 2 :]
    return drawn("lamina state show grid --picture", ("lamina state show grid --picture", "\n".join(drawn_rows)))


def trends_picture(folder: Path) -> str:
    """What worked over two months: one way gets better, one gets worse, one is sure."""
    import lamina as package

    store = folder / "store"
    monday = datetime.now(UTC).replace(hour=9, minute=0, second=0, microsecond=0)
    monday -= timedelta(days=monday.weekday() + 56)
    ways = {
        ("reproduce it in a test", "fix it", "run all tests"): (4, 5, 5, 6, 7, 8, 8, 9),
        ("read the stack trace", "patch the caller"): (8, 8, 7, 5, 5, 4, 3, 2),
        ("search", "open", "edit", "run-tests"): (9, 9, 10, 9, 10, 10, 9, 10),
    }
    with package.open(store, embedder="none") as opened:
        for steps, weeks in ways.items():
            for week, good in enumerate(weeks):
                opened.patterns.record_many(
                    {"steps": steps, "type": "DebuggingStrategy", "success": number < good, "files": ["src/parser.py"],
                     "at": monday + timedelta(weeks=week, hours=number), "session": f"run-{week}-{number}"}
                    for number in range(10)
                )  # fmt: skip
    where = ("--store", str(store), "patterns")
    command = "lamina patterns trends"
    listed = "lamina patterns list --file src/parser.py"
    return drawn(
        command,
        (command, lamina(*where, "trends")),
        (listed, lamina(*where, "list", "--file", "src/parser.py")),
    )


PICTURES: dict[str, Callable[[Path], str]] = {
    "recall.svg": recall_picture,
    "index.svg": index_picture,
    "index-check.svg": check_picture,
    "sync.svg": sync_picture,
    "team-status.svg": team_picture,
    "grid.svg": grid_picture,
    "trends.svg": trends_picture,
}


def main(arguments: list[str]) -> int:
    """Write the pages, or with ``--check`` compare the reference with the file."""
    text = reference()
    if "--check" in arguments:
        if REFERENCE.read_text(encoding="utf-8") != text:
            print("docs/cli.md is out of date; run `make docs`.", file=sys.stderr)
            return 1
        return 0
    REFERENCE.write_text(text, encoding="utf-8")
    print(f"wrote {REFERENCE.relative_to(ROOT)}")
    IMAGES.mkdir(parents=True, exist_ok=True)
    for name, picture in PICTURES.items():
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made).resolve()
            (IMAGES / name).write_text(picture(folder).replace(str(folder), PEOPLE), encoding="utf-8")
        print(f"wrote {(IMAGES / name).relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
