"""What is installed is what the project says it is."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from lamina._version import __version__


@pytest.fixture
def project(repository: Path) -> dict[str, Any]:
    """Return pyproject.toml."""
    return tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))


def test_version_has_one_source(project: dict[str, Any]) -> None:
    """The version is stated in lamina._version alone, and is a version."""
    assert "version" in project["project"]["dynamic"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)


def test_runtime_floats_and_tools_are_pinned(project: dict[str, Any]) -> None:
    """What runs for users has a lower bound and no upper one; tools have exactly one version."""
    runtime = project["project"]["dependencies"]
    extras = [item for items in project["project"]["optional-dependencies"].values() for item in items]

    assert all(re.match(r"[\w.-]+>=[\d.]+(,!=[\d.*]+)?(;|$)", item) for item in runtime)
    assert all(re.match(r"[\w.-]+>=[\d.]+$|lamina\[", item) for item in extras)
    assert all(re.fullmatch(r"[\w.-]+==[\d.]+", item) for item in project["dependency-groups"]["dev"])


def test_sqlite_is_past_the_wal_reset_bug() -> None:
    """The SQLite that the catalog runs on is 3.51.3 or newer and not the withdrawn 3.52.0."""
    import apsw

    version = tuple(int(part) for part in apsw.sqlite_lib_version().split("."))

    assert version >= (3, 51, 3)
    assert version[:2] != (3, 52)


def test_no_registry_is_named(repository: Path) -> None:
    """Nothing that installs names a package registry: the reader's own configuration decides."""
    for name in ("pyproject.toml", "Makefile", ".ci/run", "README.md", "CONTRIBUTING.md"):
        text = (repository / name).read_text(encoding="utf-8")
        assert not re.search(r"index-url|pypi\.org|--index", text), name


def test_the_wheel_carries_what_the_tour_needs(project: dict[str, Any], repository: Path) -> None:
    """What `lamina tour` loads is put beside lamina._examples, under the names that it looks for, and is there."""
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]

    assert included == {
        "examples/tour.jsonl": "lamina/_examples/tour.jsonl",
        "examples/project-memory": "lamina/_examples/project-memory",
    }
    assert all((repository / name).exists() for name in included)
    assert not (repository / "examples" / "project-memory" / ".lamina").exists()  # it would travel, too


def test_typing_marker_is_there(repository: Path) -> None:
    """Type checkers of users read Lamina's annotations."""
    assert (repository / "src" / "lamina" / "py.typed").is_file()
