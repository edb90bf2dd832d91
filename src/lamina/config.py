"""Where a store is, and the settings that apply to it.

A store's own ``lamina.toml`` may travel with the folder, so it can only shape how the store is kept. What connects or
runs (an embedder, an endpoint) comes from arguments, the environment or the user's own configuration file.
"""

from __future__ import annotations

import os
import stat
import tomllib
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from lamina.errors import InvalidInputError, LaminaError

__all__ = [
    "CATALOG_NAME",
    "DAMAGED",
    "ENGINE_FOLDER",
    "IN_USE_NAME",
    "SALVAGE",
    "SETTINGS_NAME",
    "Durability",
    "Profile",
    "Settings",
    "absolute_path",
    "damaged_copies",
    "find_store",
    "load_settings",
    "user_settings_file",
]

ENGINE_FOLDER = ".lamina"
"""The engine's own folder inside a store."""
CATALOG_NAME = "catalog.db"
SETTINGS_NAME = "lamina.toml"
IN_USE_NAME = "in-use.lock"
"""A lock in the engine's folder: shared by all who have the store open, held alone by whoever replaces its files."""
DAMAGED = f"{CATALOG_NAME}.damaged-"
"""Begins the name of a damaged catalog that a repair put aside."""
SALVAGE = "salvage-"
"""Begins the name of the folder in which a repair makes its new catalog."""

Durability = Literal["full", "relaxed"]
Profile = Literal["precise", "balanced", "compact"]

_MAX_SETTINGS_BYTES = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set for a store; the defaults are what a new store gets."""

    profile: Profile = "balanced"
    """How much precision of memories' vectors is traded for space."""
    durability: Durability = "full"
    """``full``: an acknowledged write survives power loss; ``relaxed``: the last moments may be lost, never corrupt.
    Never read from a store's own settings: a folder that came from elsewhere may not weaken what its user relies on."""
    busy_timeout: float = 30.0
    """Seconds that a writer waits for another one."""
    passage_chars: int = 1000
    """Characters of a passage; a longer body is cut at headings and paragraphs."""
    index_lines: int = 200
    """Lines of a ``MEMORY.md`` from which on its pointers go to the overflow index."""
    index_bytes: int = 25_000
    """UTF-8 bytes of a ``MEMORY.md`` from which on its pointers go to the overflow index."""
    ignore: tuple[str, ...] = ()
    """Patterns (``docs/*``) of markdown files in the store's folder that are no memories."""
    enabled: bool = True
    """False turns memory off: nothing is shown to an agent and nothing is written. Never read from a store's own
    settings."""
    embedder: str | None = None
    """An embedder's name; never read from a store's own settings."""
    ignored: tuple[str, ...] = field(default=())
    """Keys of ``lamina.toml`` that were not applied, with the reason."""


_STORE_KEYS = ("profile", "busy_timeout", "passage_chars", "index_lines", "index_bytes", "ignore")
_USER_KEYS = (*_STORE_KEYS, "durability", "embedder", "enabled")
_NUMBERS: dict[str, tuple[float, float]] = {
    "busy_timeout": (0.0, 3600.0),
    "passage_chars": (200, 20_000),
    "index_lines": (10, 10_000),
    "index_bytes": (1_000, 1_000_000),
}
_SWITCH = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
_NEAREST = "the nearest folder with a .lamina folder or a lamina.toml"


def find_store(explicit: str | os.PathLike[str] | None = None) -> tuple[Path, str]:
    """Find the folder of the store to use.

    Args:
        explicit: A folder named by the caller; wins over everything.

    Returns:
        The absolute folder, and one phrase that says why it was chosen. The folder need not exist.

    Raises:
        InvalidInputError: The folder that was named can be none.
    """
    if explicit is not None and str(explicit):
        return absolute_path(explicit, "The store's path"), "named by the caller"
    named = os.environ.get("LAMINA_STORE")
    if named:
        return absolute_path(named, "LAMINA_STORE"), "named by LAMINA_STORE"
    here = absolute_path(".", "The current folder")
    foreign: list[str] = []
    for folder in (here, *here.parents):
        marks = _marks(folder)
        if not marks:
            continue
        if all(_trusted(mark) for mark in marks):
            return folder, _NEAREST + _passed_over(foreign)
        foreign.append(str(folder))
    import platformdirs  # costs 5 ms, and only this branch needs it

    folder = Path(platformdirs.user_data_dir("lamina", appauthor=False)) / "default"
    return folder, "the platform's data folder" + _passed_over(foreign)


def damaged_copies(engine: Path) -> list[Path]:
    """Return what repairs left in the engine's folder that still holds memories.

    These are the catalogs that were put aside, with their logs, and the folders of repairs that were interrupted; none
    where the folder cannot be read.
    """
    try:
        return sorted(path for path in engine.iterdir() if path.name.startswith((DAMAGED, SALVAGE)))
    except OSError:
        return []


def user_settings_file() -> Path:
    """Return the user's own settings file, ``LAMINA_CONFIG`` or the platform's place; it need not exist."""
    named = os.environ.get("LAMINA_CONFIG")
    if named:
        return absolute_path(named, "LAMINA_CONFIG")
    home = os.environ.get("XDG_CONFIG_HOME")
    if home:
        return Path(home) / "lamina" / "config.toml"
    import platformdirs

    return Path(platformdirs.user_config_dir("lamina", appauthor=False)) / "config.toml"


def load_settings(location: Path, **overrides: Any) -> Settings:
    """Gather the settings for a store: defaults, the store's file, the user's file, the environment, the arguments.

    Args:
        location: The store's folder.
        **overrides: Arguments of the caller; None means "not given".

    Raises:
        InvalidInputError: A settings file may not be read or is no TOML, or a value is out of range.
    """
    settings = Settings()
    store_file = location / SETTINGS_NAME
    if os.path.isfile(store_file):  # noqa: PTH113 - False for a name that no file can have
        settings = _apply(settings, _read(store_file), _STORE_KEYS, store_file)
    user_file = user_settings_file()
    if _is_file(user_file):
        settings = _apply(settings, _read(user_file), _USER_KEYS, user_file)
    environment = {
        key: value
        for key in ("profile", "durability", "embedder", "enabled")
        if (value := os.environ.get(f"LAMINA_{key.upper()}"))
    }
    settings = _apply(settings, environment, _USER_KEYS, "the environment")
    given = {key: value for key, value in overrides.items() if value is not None}
    return _apply(settings, given, _USER_KEYS, "the arguments")


def absolute_path(path: Any, what: str) -> Path:
    """Return a path that someone named, absolute and with ``~`` resolved. It need not exist, nor be UTF-8.

    Args:
        path: As it was named: text, bytes or anything that has a path.
        what: What it is, to begin a message with.

    Raises:
        InvalidInputError: No file can have that name.
    """
    hint = "Name a folder by its full path."
    if not isinstance(path, (str, bytes, os.PathLike)):
        raise InvalidInputError(f"{what} is a {type(path).__name__}.", hint=hint)
    try:
        raw = os.fsencode(path)
    except ValueError:
        raise InvalidInputError(f"{what} holds a lone surrogate.", hint=hint) from None
    if not raw or b"\0" in raw:
        raise InvalidInputError(f"{what} {'holds a null byte' if raw else 'is empty'}.", hint=hint)
    name = os.fsdecode(raw)
    try:
        return Path(name).expanduser().absolute()
    except (RuntimeError, OSError) as error:  # ~nobody, or a current folder that was removed
        raise InvalidInputError(f"{what} {name!r} leads nowhere: {str(error).rstrip('.')}.", hint=hint) from None


def _marks(folder: Path) -> list[Path]:
    """Return what makes a folder a store; what may not be looked at makes none."""
    found = []
    if os.path.isdir(folder / ENGINE_FOLDER):  # noqa: PTH112 - Path.is_dir() raises where it may not be looked at
        found.append(folder / ENGINE_FOLDER)
    if os.path.isfile(folder / SETTINGS_NAME):  # noqa: PTH113
        found.append(folder / SETTINGS_NAME)
    return found


def _trusted(mark: Path) -> bool:
    """Return whether a store that was only come upon is this user's own, or root's.

    Anyone may make a ``.lamina`` in a folder that all may write, such as /tmp, and would gather the memories of whoever
    works below it. Root can read and change everything anyway, so trusting what it made gives nothing away.
    """
    if not hasattr(os, "geteuid"):
        return True
    try:
        owners = {mark.lstat().st_uid, mark.stat().st_uid}  # where it is a link: of the link, too
    except OSError:
        return False
    return owners <= {0, os.geteuid()}


def _passed_over(foreign: list[str]) -> str:
    if not foreign:
        return ""
    return f"; passed over what belongs to another user in {', '.join(foreign)} (name it to use it)"


def _is_file(path: Path) -> bool:
    """Return whether a settings file is there.

    Raises:
        InvalidInputError: It may not be looked at, so nobody can say what it would have set.
    """
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> InvalidInputError:
    return InvalidInputError(
        f"The settings file {path} cannot be read: {error.strerror or error}.",
        hint="Give yourself the right to read it, or name another one with LAMINA_CONFIG.",
        path=str(path),
    )


def _read(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > _MAX_SETTINGS_BYTES:
            raise InvalidInputError(f"{file} is too large for a settings file.", hint="Keep it below 1 MB.")
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except LaminaError:
        raise
    except OSError as error:
        raise _unreadable(file, error) from None
    except (ValueError, RecursionError) as error:  # tomllib also lets those of int() and of deep nesting out
        raise InvalidInputError(
            f"{file} cannot be read as TOML: {error}.", hint="Correct or remove the file."
        ) from None


def _apply(settings: Settings, values: dict[str, Any], allowed: tuple[str, ...], origin: object) -> Settings:
    known = {item.name for item in fields(Settings)} - {"ignored"}
    ignored = list(settings.ignored)
    changes: dict[str, Any] = {}
    for key, value in values.items():
        if key not in allowed:
            why = "only the user's own configuration may set it" if key in known else "no such setting"
            ignored.append(f"{key} in {origin}: {why}")
            continue
        changes[key] = _checked(key, value, origin)
    return replace(settings, ignored=tuple(ignored), **changes)


def _checked(key: str, value: Any, origin: object) -> Any:
    choices = {"profile": get_args(Profile), "durability": get_args(Durability)}.get(key)
    if choices is not None and value not in choices:
        raise InvalidInputError(
            f"{key} = {value!r} in {origin} is not one of {', '.join(choices)}.", hint="Choose one of them."
        )
    if key in _NUMBERS:
        low, high = _NUMBERS[key]
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise InvalidInputError(
                f"{key} = {value!r} in {origin} is not a number from {low:g} to {high:g}.", hint="Choose one in range."
            )
        return float(value) if key == "busy_timeout" else int(value)
    if key == "ignore":
        if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) and item for item in value):
            raise InvalidInputError(
                f"ignore = {value!r} in {origin} is not a list of patterns.", hint="Write ['docs/*', 'README.md']."
            )
        return tuple(value)
    if key == "enabled":
        if isinstance(value, str) and value.lower() in _SWITCH:
            return _SWITCH[value.lower()]
        if not isinstance(value, bool):
            raise InvalidInputError(f"enabled = {value!r} in {origin} is neither true nor false.", hint="Write one.")
        return value
    if key == "embedder" and not isinstance(value, str):
        raise InvalidInputError(f"embedder = {value!r} in {origin} is not a name.", hint="Name one, such as 'static'.")
    return value
