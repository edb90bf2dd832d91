"""The normal form of what an agent does: an activity where it is a known one, else its words without the particulars.

Steps of many sessions become comparable when what differs from run to run is taken out: ``sed -i s/a/b/ src/x.py`` and
``Edit(file_path="/home/me/y.py")`` are both ``edit``; ``pytest tests/test_x.py -k two`` is ``run-tests``; ``git commit
-m "fix"`` is ``git commit``.
"""

from __future__ import annotations

import os.path
import re
import shlex
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

__all__ = ["CHANGES", "SHELL_TOOLS", "describe", "failed", "files_of", "normalise", "relative_to", "step_of"]

CHANGES: Final = frozenset(("edit", "create"))
"""Steps that change the files they name."""

_ACTIVITIES: Final[Mapping[str, str]] = {
    name: activity
    for activity, names in {
        "edit": "edit multiedit write write_file edit_file notebookedit insert str_replace apply_patch patch replace "
        "str_replace_based_edit_tool update_file sed",
        "create": "create create_file touch",
        "open": "read open view read_file view_file cat head tail less notebookread",
        "scroll": "goto scroll_down scroll_up set_cursors",
        "search": "grep glob find find_file search_dir search_file search rg ag codesearch fd locate semantic_search",
        "search-web": "websearch web_search",
        "fetch": "webfetch web_fetch fetch fetch_url curl wget",
        "list": "ls list_dir list_files tree pwd",
        "delete": "rm delete_file",
        "plan": "todowrite todoread update_plan think exit_plan_mode exitplanmode",
        "delegate": "task agent dispatch_agent",
        "submit": "submit finish",
    }.items()
    for name in names.split()
}
SHELL_TOOLS: Final = frozenset(
    ("bash", "shell", "sh", "execute_bash", "run_command", "terminal", "exec", "local_shell", "execute", "powershell")
)
_TEST_RUNNERS: Final = frozenset(
    ("pytest", "tox", "nox", "jest", "vitest", "mocha", "rspec", "phpunit", "ctest", "unittest")
)
_TEST_WORDS: Final = re.compile(r"(?i)(?:^|[/_.\-])(?:tests?|spec|repro(?:duce)?|check|verify)(?:[/_.\-]|$)")
_INTERPRETERS: Final = re.compile(r"(?:python|pypy)[\d.]*|node|deno|bun|ruby|perl|php|bash|sh")
_WITH_COMMAND: Final = frozenset(
    (
        *("git", "pip", "pip3", "npm", "yarn", "pnpm", "cargo", "go", "make", "docker", "kubectl", "poetry", "uv"),
        *("conda", "apt", "apt-get", "brew", "gh", "mvn", "gradle", "dotnet"),
    )
)
"""Programs whose first word says what they do."""
_PREFIXES: Final = frozenset(("sudo", "time", "timeout", "env", "nohup", "xargs", "command", "exec"))
_MOVES: Final = frozenset(("cd", "export", "source", "set", "pushd", "popd", ".", "true", ":", "echo", "sleep"))
_SPLIT: Final = re.compile(r"&&|\|\||;|\||\n")
_FILE_KEYS: Final = (
    "file_path",
    "path",
    "notebook_path",
    "filename",
    "file",
    "file_name",
    "target_file",
    "relative_path",
)
_FILE_LIKE: Final = re.compile(r"(?:[\w@+~.-]*/)*[\w@+-][\w@+.-]*\.[A-Za-z][A-Za-z0-9]{0,9}")
_QUOTING: Final = re.compile(r"[\"'\\]")
_LONGEST_COMMAND: Final = 4_000

_PARTICULARS: Final = re.compile(
    r"(?P<str>\"(?:[^\"\\\n]|\\.){0,500}\"|'(?:[^'\\\n]|\\.){0,500}'|`[^`\n]{1,500}`)"
    r"|(?P<url>\b[a-z][a-z0-9+.-]{1,15}://[^\s\"'<>]+)"
    r"|(?P<hash>\b(?=[0-9a-f-]*\d)(?:[0-9a-f]{7,64}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})\b(?![./]))"
    r"|(?P<path>(?<![\w<])(?:~|\.{1,2})?/[^\s\"'<>|:;,()]+|(?:[\w@+.-]+/)+[\w@+.-]*|\b[\w@+-]+\.(?:[A-Za-z]{1,4}[0-9]?|json5|yaml|toml|lock|ipynb)\b)"
    r"|(?P<n>\b0x[0-9a-fA-F]+\b|(?<![\w<])[-+]?\d+(?:[.,:]\d+)*\b)"
)


def normalise(text: str) -> str:
    """Return a text with quoted strings, URLs, hashes, paths and numbers replaced by ``<str>`` and so on.

    White space is joined; what is left is what many runs have in common.
    """
    return " ".join(_PARTICULARS.sub(_placeholder, text).split())


def _placeholder(match: re.Match[str]) -> str:
    return f"<{match.lastgroup}>"


def step_of(tool: str, arguments: Any) -> str:
    """Return the normal form of a tool call.

    Args:
        tool: The tool's name.
        arguments: As given to it; of a shell, the command or a mapping with it.
    """
    name = tool.strip().lower()
    if name in SHELL_TOOLS:
        return _shell_step(_command_of(arguments)[:_LONGEST_COMMAND])
    if name in ("str_replace_editor", "str_replace_based_edit_tool") and isinstance(arguments, Mapping):
        return {"view": "open", "create": "create"}.get(str(arguments.get("command")), "edit")
    known = _ACTIVITIES.get(name)
    if known is not None:
        return known
    if isinstance(arguments, str):
        return _shell_step(f"{tool} {arguments}"[:_LONGEST_COMMAND])
    return normalise(tool)[:200] or "call"


def _command_of(arguments: Any) -> str:
    if isinstance(arguments, Mapping):
        arguments = arguments.get("command", arguments.get("cmd", arguments.get("script", "")))
    if isinstance(arguments, (list, tuple)):
        return " ".join(str(part) for part in arguments)
    return str(arguments or "")


@lru_cache(maxsize=4_096)
def _shell_step(command: str) -> str:
    steps = [step for part in _SPLIT.split(command) if (step := _program_step(part))]
    if "run-tests" in steps:
        return "run-tests"
    return steps[0] if steps else "shell"


def _program_step(part: str) -> str:
    """Return the step of one program of a command line; empty where it only moves about."""
    words = _words(part)
    while words and (words[0] in _PREFIXES or re.fullmatch(r"\w+=.*|-\w+|\d+[smh]?", words[0])):
        words = words[1:]
    if not words:
        return ""
    program = words[0].rstrip("/").rpartition("/")[2].lower() or words[0].lower()
    rest = words[1:]
    if program in _MOVES:
        return ""
    if _is_test(program, rest):
        return "run-tests"
    if program == "sed" and not any(word.startswith("-i") or word == "--in-place" for word in rest):
        return "open"
    if _INTERPRETERS.fullmatch(program):
        return _interpreter_step(program, rest)
    known = _ACTIVITIES.get(program)
    if known is not None:
        return known
    if program in _WITH_COMMAND:
        command = next((word for word in rest if re.fullmatch(r"[a-z][a-z-]{0,20}", word)), "")
        return f"{program} {command}".strip()
    return normalise(program)[:100]


def _interpreter_step(program: str, rest: list[str]) -> str:
    if "-m" in rest[:-1]:
        module = rest[rest.index("-m") + 1]
        return f"{program} -m {normalise(module)}"[:100]
    if "-c" in rest:
        return f"{program} -c"
    return f"{program} <path>" if any(not word.startswith("-") for word in rest) else program


def _is_test(program: str, rest: list[str]) -> bool:
    if program in _TEST_RUNNERS or any(word in _TEST_RUNNERS for word in rest[:2]):
        return True
    if program in ("npm", "yarn", "pnpm", "cargo", "go", "make", "gradle", "mvn", "dotnet", "poetry", "uv"):
        return any(word in ("test", "tests", "check") for word in rest[:3])
    if _INTERPRETERS.fullmatch(program):
        if "-m" in rest[:-1]:
            return rest[rest.index("-m") + 1] in _TEST_RUNNERS
        script = next((word for word in rest if not word.startswith("-")), "")
        return bool(script) and "-c" not in rest and bool(_TEST_WORDS.search(script))
    return False


def _words(part: str) -> list[str]:
    part = part.strip()
    if not _QUOTING.search(part):
        return part.split()
    try:
        return shlex.split(part, comments=False)
    except ValueError:  # an open quote: what was cut, or a here-document
        return part.split()


def files_of(tool: str, arguments: Any) -> tuple[str, ...]:
    """Return the paths that a call names, in order, as they were given."""
    found: dict[str, None] = {}
    if isinstance(arguments, Mapping):
        for key in _FILE_KEYS:
            value = arguments.get(key)
            if isinstance(value, str) and 0 < len(value) <= 1_000 and "\n" not in value:
                found[value] = None
        several = arguments.get("files") or arguments.get("paths") or ()
        if isinstance(several, (list, tuple)):
            found.update((path, None) for path in several if isinstance(path, str) and 0 < len(path) <= 1_000)
    if tool.strip().lower() in SHELL_TOOLS or isinstance(arguments, str):
        command = _command_of(arguments)[:_LONGEST_COMMAND].split("\n", 1)[0]
        for word in _words(command):
            if not word.startswith("-") and _FILE_LIKE.fullmatch(word.lstrip("/")) and "://" not in word:
                found[word] = None
    return tuple(path for path in found if _storable(path))


@lru_cache(maxsize=4_096)
def relative_to(project: str | None, path: str) -> str:
    """Return a path relative to the project's folder where it lies below it, with the superfluous parts taken out."""
    if project and project.startswith("/") and path.startswith("/"):
        below = os.path.normpath(path)
        top = os.path.normpath(project)
        if below.startswith(top.rstrip("/") + "/"):
            return below[len(top.rstrip("/")) + 1 :]
    return os.path.normpath(path) if path else path


_FAILURES: Final = (
    "Traceback (most recent call last)",
    "Your proposed edit has introduced new syntax error",
    "command not found",
    "No such file or directory",
    "EXECUTION TIMED OUT",
    "fatal: ",
    "error: the following",
)


def failed(output: str) -> bool:
    """Return whether a tool's output tells of a failure, where nothing else does."""
    head = output[:4_000] + output[-4_000:] if len(output) > 8_000 else output
    return output[:20].lower().lstrip().startswith(("error", "exit code")) or any(mark in head for mark in _FAILURES)


_ERROR_CLASS: Final = re.compile(r"\b[A-Z]\w*(?:Error|Exception)\b")
_ERROR_WORD: Final = re.compile(r"(?i)\b(?:error|fatal|failed|not found)\b")


def describe(error: str) -> str:
    """Return an error in its normal form: the line that names it, without the particulars."""
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    classes = [line for line in lines if _ERROR_CLASS.search(line)]
    words = [line for line in lines if _ERROR_WORD.search(line)]
    line = (words or lines or [""])[0]
    if classes:  # of a traceback the last line counts, of a list the first
        line = classes[-1 if "Traceback" in error else 0]
    return normalise(re.sub(r"^[-*\s]+", "", line[:400]))[:120] or "error"


def _storable(path: str) -> bool:
    return path.isprintable() and len(path) <= 1_000 and bool(path.strip())
