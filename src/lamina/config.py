"""Where a store is, and the settings that apply to it.

A store's own ``lamina.toml`` may travel with the folder, so it can only shape how the store is kept. What connects or
runs (an embedder, an endpoint) comes from arguments, the environment or the user's own configuration file.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from lamina.errors import InvalidInputError

__all__ = [
    "CATALOG_NAME",
    "ENGINE_FOLDER",
    "SETTINGS_NAME",
    "Durability",
    "Profile",
    "Settings",
    "damaged_copies",
    "find_store",
    "load_settings",
    "user_settings_file",
]

ENGINE_FOLDER = ".lamina"
"""The engine's own folder inside a store."""
CATALOG_NAME = "catalog.db"
SETTINGS_NAME = "lamina.toml"

Durability = Literal["full", "relaxed"]
Profile = Literal["precise", "balanced", "compact"]

_MAX_SETTINGS_BYTES = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set for a store; the defaults are what a new store gets."""

    profile: Profile = "balanced"
    """How much precision of memories' vectors is traded for space."""
    durability: Durability = "full"
    """``full``: an acknowledged write survives power loss; ``relaxed``: the last moments may be lost, never corrupt."""
    busy_timeout: float = 30.0
    """Seconds that a writer waits for another one."""
    passage_chars: int = 1000
    """Characters of a passage; a longer body is cut at headings and paragraphs."""
    embedder: str | None = None
    """An embedder's name; never read from a store's own settings."""
    ignored: tuple[str, ...] = field(default=())
    """Keys of ``lamina.toml`` that were not applied, with the reason."""


_STORE_KEYS = ("profile", "durability", "busy_timeout", "passage_chars")
_USER_KEYS = (*_STORE_KEYS, "embedder")


def find_store(explicit: str | os.PathLike[str] | None = None) -> tuple[Path, str]:
    """Find the folder of the store to use.

    Args:
        explicit: A folder named by the caller; wins over everything.

    Returns:
        The absolute folder, and one phrase that says why it was chosen. The folder need not exist.
    """
    if explicit is not None and str(explicit):
        return _absolute(explicit), "named by the caller"
    named = os.environ.get("LAMINA_STORE")
    if named:
        return _absolute(named), "named by LAMINA_STORE"
    here = _absolute("")
    for folder in (here, *here.parents):
        if os.path.isdir(folder / ENGINE_FOLDER) or os.path.isfile(folder / SETTINGS_NAME):  # noqa: PTH112, PTH113 - False where it may not be read
            return folder, "the nearest folder with a .lamina folder or a lamina.toml"
    import platformdirs  # costs 5 ms, and only this branch needs it

    return Path(platformdirs.user_data_dir("lamina", appauthor=False)) / "default", "the platform's data folder"


def damaged_copies(engine: Path) -> list[Path]:
    """Return the damaged catalogs that repair put aside in an engine's folder."""
    return sorted(engine.glob(f"{CATALOG_NAME}.damaged-*"))


def user_settings_file() -> Path:
    """Return the user's own settings file, ``LAMINA_CONFIG`` or the platform's place; it need not exist."""
    named = os.environ.get("LAMINA_CONFIG")
    if named:
        return _absolute(named)
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
        InvalidInputError: A settings file cannot be read as TOML, or a value is out of range.
    """
    settings = Settings()
    store_file = location / SETTINGS_NAME
    if os.path.isfile(store_file):  # noqa: PTH113 - False for a name that no file can have
        settings = _apply(settings, _read(store_file), _STORE_KEYS, store_file)
    user_file = user_settings_file()
    if user_file.is_file():
        settings = _apply(settings, _read(user_file), _USER_KEYS, user_file)
    environment = {
        key: value
        for key in ("profile", "durability", "embedder")
        if (value := os.environ.get(f"LAMINA_{key.upper()}"))
    }
    settings = _apply(settings, environment, _USER_KEYS, "the environment")
    given = {key: value for key, value in overrides.items() if value is not None}
    return _apply(settings, given, _USER_KEYS, "the arguments")


def _absolute(path: str | os.PathLike[str]) -> Path:
    try:
        return Path(path).expanduser().absolute()
    except (RuntimeError, OSError) as error:  # ~nobody, or a current folder that was removed
        raise InvalidInputError(f"{path} leads nowhere: {error}.", hint="Name a folder by its full path.") from None


def _read(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > _MAX_SETTINGS_BYTES:
            raise InvalidInputError(f"{file} is too large for a settings file.", hint="Keep it below 1 MB.")
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:  # tomllib also lets those of int() and of deep nesting out
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
    if key in ("busy_timeout", "passage_chars"):
        low, high = (0.0, 3600.0) if key == "busy_timeout" else (200, 20_000)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise InvalidInputError(
                f"{key} = {value!r} in {origin} is not a number from {low:g} to {high:g}.", hint="Choose one in range."
            )
        return float(value) if key == "busy_timeout" else int(value)
    if key == "embedder" and not isinstance(value, str):
        raise InvalidInputError(f"embedder = {value!r} in {origin} is not a name.", hint="Name one, such as 'static'.")
    return value
