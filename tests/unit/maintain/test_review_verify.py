"""What verify compares beyond pages and texts: tags, bands, links; and that a repair mends what it finds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

import lamina
from lamina import Store
from lamina.testing import TinyEmbedder


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Return a store with tags, a near-duplicate, a past and a link."""
    with lamina.open(tmp_path / "store", embedder=TinyEmbedder(), durability="relaxed") as opened:
        m = opened.memories
        m.add("The harbour opens at six in the morning on weekdays.", tags=["harbour", "hours"])
        m.add("The harbour opens at seven in the morning on weekdays.", tags=["hours"])
        old = m.add("The ferry costs two euros.", tags=["ferry"])
        m.update(old.id, importance=0.9)
        m.supersede(old.id, m.add("The ferry costs three euros.").id)
        yield opened


def change(store: Store, *statements: str) -> None:
    """Change the catalog behind the store's back."""
    db = apsw.Connection(str(store.location / ".lamina" / "catalog.db"))
    for statement in statements:
        db.execute(statement)
    db.close()


def codes(store: Store, level: str = "full") -> list[str]:
    """Return the codes of what verify finds."""
    return [problem.code for problem in store.verify(level).problems]  # type: ignore[arg-type]


def test_a_whole_store_is_whole(store: Store) -> None:
    """Tags, bands and links of a store that nobody damaged give no problem at any level."""
    assert [[], [], []] == [codes(store, level) for level in ("structure", "sample", "full")]


@pytest.mark.parametrize(
    ("statement", "level", "code"),
    [
        ("DELETE FROM memory_tag", "structure", "index-differs"),
        ("INSERT INTO memory_tag VALUES (1, 4711)", "structure", "index-ahead"),
        ("UPDATE memory_tag SET tag = 4711 WHERE memory = 2", "full", "index-differs"),
        ("DELETE FROM band", "full", "index-differs"),
        ("INSERT INTO band VALUES (5, 1)", "full", "index-ahead"),
    ],
)
def test_derived_tables_are_compared_and_mended(store: Store, statement: str, level: str, code: str) -> None:
    """What filters by tags and near-duplicates use is compared with the memories themselves, and made anew of them."""
    change(store, statement)

    assert code in codes(store, level)

    store.repair()
    assert [] == codes(store)
    assert 2 == store.memories.count(tags=["hours"])
    again = store.memories.add("The harbour opens at six in the morning on weekdays.")
    assert again.similar


def test_a_link_to_what_never_was(store: Store) -> None:
    """A memory that says it was superseded by one that never was is told."""
    change(store, "UPDATE memory SET superseded_by = 'nobody00' WHERE superseded_by IS NOT NULL AND valid_to = 0")
    assert "link-dangling" in codes(store, "structure")


def test_a_link_to_what_was_purged_is_no_problem(store: Store) -> None:
    """Purging the memory that replaced another one leaves a store without problems."""
    new = store.memories.list(limit=1)[0]
    assert new.text == "The ferry costs three euros."
    store.memories.delete(new.id, purge=True)
    assert [] == codes(store)
