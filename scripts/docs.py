"""Writes the generated documentation: the command reference and the README's picture.

``python scripts/docs.py`` writes both, ``--check`` writes nothing and fails when the reference is out of date.
"""

from __future__ import annotations

import io
import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "cli.md"
PICTURE = ROOT / "docs" / "images" / "recall.svg"
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
                parts.append(f"### lamina {name} {inner}\n\n{fenced(found, inner, group)}")
    return "\n".join(parts)


def lamina(*arguments: str) -> str:
    """Run one command as on a colour terminal and return what it wrote to standard output."""
    from lamina.cli.app import run
    from lamina.cli.shell import Shell

    with redirect_stdout(io.StringIO()) as output:
        code = run(list(arguments), obj=Shell(color=True, width=WIDTH))
    if code:
        raise SystemExit(f"lamina {' '.join(arguments)} ended with {code}")
    return output.getvalue()


def picture() -> str:
    """Return an SVG of a real answer to a real question, in the colours of a terminal."""
    from rich.console import Console
    from rich.text import Text

    with tempfile.TemporaryDirectory() as folder:
        store = str(Path(folder) / "store")
        lamina("--store", store, "import", str(ROOT / "examples" / "tour.jsonl"))
        answer = lamina("--store", store, "recall", QUESTION, "--limit", "3")
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text.assemble(("$ ", "green"), f'lamina recall "{QUESTION}" --limit 3'))
    console.print()
    console.print(Text.from_ansi(answer.rstrip()))
    return console.export_svg(title="lamina", code_format=_TEMPLATE, unique_id="lamina")


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
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    PICTURE.write_text(picture(), encoding="utf-8")
    print(f"wrote {PICTURE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
