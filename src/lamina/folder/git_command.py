"""Running git so that a repository can run nothing itself, and without any network.

A repository may come from anywhere, and its own configuration can name programs: for filters, file system monitors,
hooks, signatures, connections. Every command here is started with those turned off, reads and never refreshes, and is
ended after a while. What the user's own configuration or environment says stays in force.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from shutil import which
from typing import Final

from lamina.errors import LaminaError, LockedError, NotFoundError, ReadOnlyError, StorageError
from lamina.fs import translate

__all__ = ["TIMEOUT_S", "filters_off", "run_git", "tokens_of"]

TIMEOUT_S: Final = 30.0
"""Seconds that one command of git may take."""
_SAFE: Final = (
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "core.sshCommand=false",
    "core.quotePath=false",
    "color.ui=false",
    "diff.relative=false",
    "log.follow=false",
    "log.showRoot=true",
    "log.showSignature=false",  # a signature is checked by a program that the configuration names
    "safe.bareRepository=explicit",
)
"""Settings of every command, as ``git help config`` describes them."""
_KEPT: Final = {"GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM", "GIT_CONFIG_COUNT", "GIT_EXEC_PATH"}
_KEPT_PREFIXES: Final = ("GIT_CONFIG_KEY_", "GIT_CONFIG_VALUE_", "GIT_CEILING_")
_FILTERS: Final = {"clean": "", "smudge": "", "process": "", "required": "false"}


def run_git(
    folder: str,
    arguments: Sequence[str],
    *,
    settings: Sequence[str] = (),
    ok: tuple[int, ...] = (0,),
    literal: bool = True,
) -> bytes:
    """Run git in a folder and return what it printed.

    Raises:
        NotFoundError: There is no git, or no repository.
        LaminaError: It failed, was refused, or took too long.
    """
    program = which("git")
    if program is None:
        raise NotFoundError(
            "There is no git on this machine.", hint="Install it, or see that the program `git` is on PATH."
        )
    command = [program, "--no-pager", "-C", folder]
    for setting in (*_SAFE, *settings):
        command += ["-c", setting]
    environment = _environment()
    if literal:
        environment["GIT_LITERAL_PATHSPECS"] = "1"
    try:
        done = subprocess.run(  # noqa: S603 - a program of the user's PATH, arguments of ours, no shell
            [*command, *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise StorageError(
            f"git {arguments[0]} took longer than {TIMEOUT_S:.0f} seconds in {folder}.",
            hint="Run it there yourself and see what it waits for.",
            path=folder,
        ) from error
    except OSError as error:
        raise translate(error, program, "run") from error
    if done.returncode not in ok:
        raise _failure(folder, arguments[0], done.returncode, done.stderr.decode("utf-8", "replace").strip())
    return done.stdout


def _environment() -> dict[str, str]:
    """Return the environment of git: the user's, without what points it elsewhere or makes it ask or connect."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GIT_") or name in _KEPT or name.startswith(_KEPT_PREFIXES)
    }
    return {
        **kept,
        "LC_ALL": "C",
        "LANGUAGE": "",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_ALLOW_PROTOCOL": "none",  # older versions know no other way not to fetch what a partial clone lacks
    }


def _failure(folder: str, command: str, code: int, said: str) -> LaminaError:
    """Return our error for what git said."""
    lines = [line for line in said.splitlines() if line.strip()]
    first = lines[0].removeprefix("fatal: ").removeprefix("error: ") if lines else f"it ended with {code}"
    if "not a git repository" in said:
        return NotFoundError(
            f"{folder} is in no git repository.",
            hint="Run `git init` there, or clone the team's repository.",
            path=folder,
        )
    if "must be run in a work tree" in said or "cannot use bare repository" in said:
        return NotFoundError(
            f"{folder} lies inside a repository of git that has no working tree.",
            hint="Clone it, and use the store in the clone.",
            path=folder,
        )
    if "dubious ownership" in said or "unsafe repository" in said:
        return StorageError(
            f"git does not read the repository around {folder}, since it belongs to another user.",
            hint="If you trust its owner: git config --global --add safe.directory with its path.",
            path=folder,
            reason="safe-directory",
        )
    if command == "config" and "could not lock" in said:
        kind: type[LaminaError] = ReadOnlyError if "Permission denied" in said or "Read-only" in said else LockedError
        hint = (
            "Check the rights of its .git folder." if kind is ReadOnlyError else "Try again when the other git is done."
        )
        return kind(f"The configuration of the repository around {folder} cannot be written: {first}.", hint=hint)
    return StorageError(
        f"git {command} failed in {folder}: {first}.", hint=f"Run `git {command}` there yourself.", path=folder
    )


def filters_off(listed: bytes, folder: str) -> Iterator[str]:
    """Return settings that turn off the filters of the repository's own configuration; reading status runs them.

    Raises:
        StorageError: One has a name that cannot be given on a command line.
    """
    tokens = tokens_of(listed)
    for scope, entry in zip(tokens[::2], tokens[1::2], strict=False):
        key = entry.split("\n", 1)[0]
        if scope not in ("local", "worktree") or not key.startswith("filter."):
            continue
        name, _, part = key.removeprefix("filter.").rpartition(".")
        if not name or part not in _FILTERS:
            continue
        if "=" in name:
            raise StorageError(
                f"The configuration of the repository around {folder} defines a filter {name!r}, which cannot be "
                "turned off; git is not asked.",
                hint="Remove it from the repository's .git/config if you did not put it there.",
                path=folder,
            )
        for setting, value in _FILTERS.items():
            yield f"filter.{name}.{setting}={value}"


def tokens_of(output: bytes) -> list[str]:
    """Return what stands between the NULs; a byte that is not UTF-8 becomes U+FFFD."""
    parts = output.decode("utf-8", "replace").split("\0")
    return parts[:-1] if parts and not parts[-1] else parts
