"""The feature table names each row once, and what it names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CELLS = ("id", "what", "where", "use", "test")
ORIGIN = re.compile(r"^(?:\| |\* )([A-E]-\d\d)\b", re.MULTILINE)
CODE = re.compile(r"`([^`]+)`")


def _rows(repository: Path) -> list[dict[str, str]]:
    lines = (repository / "docs" / "features.md").read_text(encoding="utf-8").splitlines()
    rows = []
    for line in lines:
        if re.match(r"^\| *[A-E]-\d", line):
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            assert len(cells) == len(CELLS), f"not five cells: {line}"
            rows.append(dict(zip(CELLS, cells, strict=True)))
    return rows


def test_every_id_appears_once(repository: Path) -> None:
    """No feature has two rows, and the rows of a section are in order."""
    ids = [row["id"] for row in _rows(repository)]

    assert len(ids) == len(set(ids))
    assert ids == sorted(ids)


def test_each_row_is_done_or_says_not_yet(repository: Path) -> None:
    """A row that says where a feature lives also says how to use it and what pins it; any other says `not yet`."""
    for row in _rows(repository):
        filled = [bool(row[cell]) for cell in ("use", "test")]
        if row["where"].startswith("not yet"):
            assert not any(filled), row["id"]
        else:
            assert row["where"], row["id"]
            assert all(filled), row["id"]


def test_named_files_exist(repository: Path) -> None:
    """Each module, page and test that a row names is there."""
    for row in _rows(repository):
        for name in [*CODE.findall(row["where"]), *CODE.findall(row["test"])]:
            if name.startswith("lamina."):
                place = repository / "src" / Path(*name.split("."))
                assert place.with_suffix(".py").is_file() or (place / "__init__.py").is_file(), (row["id"], name)
            else:
                path, _, function = name.partition("::")
                assert (repository / path).exists(), (row["id"], name)
                if function:
                    text = (repository / path).read_text(encoding="utf-8")
                    defined = re.search(rf"^\s*(?:def|class) {re.escape(function)}\b", text, re.MULTILINE)
                    assert defined is not None, (row["id"], name)


def test_the_count_is_right(repository: Path) -> None:
    """The sentence that says how many rows are there counts them."""
    rows = _rows(repository)
    done = sum(not row["where"].startswith("not yet") for row in rows)
    text = (repository / "docs" / "features.md").read_text(encoding="utf-8")

    assert f"{done} of {len(rows)} rows are there" in text


def test_no_feature_is_left_out(repository: Path) -> None:
    """Every id of the survey of the five systems has its row, and no row is made up."""
    survey = repository.parent / "shared" / "SEEDS.md"
    if not survey.is_file():
        pytest.skip(f"the survey that the ids come from is not at {survey}")
    expected = set(ORIGIN.findall(survey.read_text(encoding="utf-8")))
    found = {row["id"] for row in _rows(repository)}

    assert expected
    assert expected == found
