from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import lamina
from lamina import InvalidInputError
from lamina.config import find_store, load_settings, user_settings_file


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is current, with no store in any of its parents."""
    folder = tmp_path / "outer" / "inner"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


# --- which store -----------------------------------------------------------------------------------------------------


def test_the_platform_folder_is_the_last_resort(here: Path, clean_environment: Path) -> None:
    """Without any hint the store is in the user's data folder: not in a temporary one, not in the package."""
    folder, reason = find_store()
    assert clean_environment in folder.parents
    assert Path(lamina.__file__).parent not in folder.parents
    assert "data folder" in reason


@pytest.mark.parametrize("mark", [".lamina", "lamina.toml"])
def test_a_parent_with_a_store_wins_over_the_platform(here: Path, mark: str) -> None:
    """The nearest parent folder that has a .lamina folder or a lamina.toml is the store."""
    place = here.parent / mark
    place.mkdir() if mark == ".lamina" else place.write_text("")
    assert here.parent == find_store()[0]
    (here / ".lamina").mkdir()
    assert here == find_store()[0]


def test_a_file_named_lamina_is_no_store(here: Path, clean_environment: Path) -> None:
    """Only a folder .lamina and a file lamina.toml count."""
    (here / ".lamina").write_text("")
    (here / "lamina.toml").mkdir()
    assert clean_environment in find_store()[0].parents


def test_the_environment_wins_over_parents_and_an_argument_over_all(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Explicit, then LAMINA_STORE, then the parents."""
    (here / ".lamina").mkdir()
    monkeypatch.setenv("LAMINA_STORE", str(tmp_path / "env"))
    assert (tmp_path / "env", "named by LAMINA_STORE") == find_store()
    assert tmp_path / "arg" == find_store(tmp_path / "arg")[0]
    assert here / "relative" == find_store("relative")[0]
    monkeypatch.setenv("LAMINA_STORE", "")
    assert here == find_store()[0]


def test_home_is_expanded(clean_environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tilde is the user's home, in the argument and in the environment."""
    assert clean_environment / "notes" == find_store("~/notes")[0]
    monkeypatch.setenv("LAMINA_STORE", "~/other")
    assert clean_environment / "other" == find_store()[0]


def test_a_path_that_leads_nowhere_is_an_error_of_ours(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The home of nobody and a current folder that is gone are told with a hint."""
    with pytest.raises(InvalidInputError) as caught:
        find_store("~no-such-user-here/x")
    assert caught.value.hint
    gone = here / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    with pytest.raises(InvalidInputError) as caught:
        find_store()
    assert caught.value.hint
    os.chdir(here)


def test_open_uses_the_store_that_was_found(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """lamina.open without a place opens the same store, and says where and why."""
    monkeypatch.setenv("LAMINA_STORE", str(tmp_path / "env"))
    with lamina.open(embedder="none") as store:
        assert (tmp_path / "env", "named by LAMINA_STORE") == (store.location, store.reason)


# --- settings --------------------------------------------------------------------------------------------------------


def test_defaults(tmp_path: Path) -> None:
    """A new store is balanced and fully durable, with no embedder named."""
    settings = load_settings(tmp_path)
    assert ("balanced", "full", None, ()) == (
        settings.profile,
        settings.durability,
        settings.embedder,
        settings.ignored,
    )


def test_the_order_of_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store's file, the user's file, the environment and the arguments follow one another, the last one wins."""
    (tmp_path / "lamina.toml").write_text('profile = "compact"\nbusy_timeout = 5\n')
    assert ("compact", 5.0) == (load_settings(tmp_path).profile, load_settings(tmp_path).busy_timeout)
    user = user_settings_file()
    user.parent.mkdir(parents=True)
    user.write_text('profile = "precise"\nembedder = "none"\n')
    settings = load_settings(tmp_path)
    assert ("precise", "none", 5.0) == (settings.profile, settings.embedder, settings.busy_timeout)
    monkeypatch.setenv("LAMINA_PROFILE", "balanced")
    assert "balanced" == load_settings(tmp_path).profile
    assert "compact" == load_settings(tmp_path, profile="compact", durability=None).profile


def test_a_user_file_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LAMINA_CONFIG names the user's own file."""
    file = tmp_path / "mine.toml"
    file.write_text('durability = "relaxed"\n')
    monkeypatch.setenv("LAMINA_CONFIG", str(file))
    assert "relaxed" == load_settings(tmp_path).durability


@pytest.mark.parametrize("key", ["embedder", "base_url", "api_key", "endpoint", "durability", "colour"])
def test_a_stores_own_file_decides_nothing_that_may_harm(tmp_path: Path, key: str) -> None:
    """What runs, connects or risks writes is not taken from a folder that may be cloned, and the store says so."""
    (tmp_path / "lamina.toml").write_text(f'{key} = "openai:evil"\nprofile = "compact"\n')
    with lamina.open(tmp_path) as store, lamina.open(tmp_path / "fresh") as fresh:
        assert "compact" == store.settings.profile
        assert (fresh.embedder, "full") == (store.embedder, store.settings.durability)
        (notice,) = (notice for notice in store.notices if key in notice)
        assert "lamina.toml" in notice


@pytest.mark.parametrize(
    "content",
    [
        b"profile = ",
        b"\xff\xfe\x00",
        b'profile = "tiny"',
        b"profile = 3",
        b"profile = []",
        b"busy_timeout = -1",
        b"busy_timeout = nan",
        b"busy_timeout = true",
        b'passage_chars = "many"',
        b"passage_chars = 1",
        b"passage_chars = " + b"9" * 5000,
        b"a = " + b"[" * 50_000,
        b"#" * 1_000_001,
    ],
    ids=lambda content: content[:22].decode("latin-1"),
)
def test_a_bad_settings_file_is_named(tmp_path: Path, content: bytes) -> None:
    """A file that is no TOML, and a value that makes no sense, are errors that name the file."""
    (tmp_path / "lamina.toml").write_bytes(content)
    with pytest.raises(InvalidInputError, match=r"lamina\.toml") as caught:
        lamina.open(tmp_path, embedder="none")
    assert caught.value.hint
    assert not (tmp_path / ".lamina").exists()


def test_a_settings_file_may_have_a_byte_order_mark(tmp_path: Path) -> None:
    """Editors that write a mark before the text do no harm."""
    (tmp_path / "lamina.toml").write_bytes(b'\xef\xbb\xbfprofile = "compact"\r\n')
    assert "compact" == load_settings(tmp_path).profile


@pytest.mark.parametrize(
    "options", [{"profile": "tiny"}, {"profile": 3}, {"durability": "none"}, {"durability": ["full"]}]
)
def test_a_bad_option_is_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    """Opening names the choices, and makes no store."""
    with pytest.raises(InvalidInputError) as caught:
        lamina.open(tmp_path / "new", **options)
    assert caught.value.hint
    assert not (tmp_path / "new").exists()


def test_a_bad_value_of_the_environment_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says that it came from the environment."""
    monkeypatch.setenv("LAMINA_DURABILITY", "sometimes")
    with pytest.raises(InvalidInputError, match="environment"):
        lamina.open(tmp_path / "new")
