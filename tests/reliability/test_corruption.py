from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

import lamina
from lamina.errors import CorruptionError, FormatError, LaminaError
from lamina.testing import (
    Damage,
    Patient,
    TinyEmbedder,
    Verdict,
    flip_bits,
    judge,
    make_patient,
    overwrite,
    report_counts,
    truncate_file,
)

PAGE = 4096


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Patient:
    """Return a whole store; tests damage copies of it."""
    return make_patient(tmp_path_factory.mktemp("patient") / "store")


def catalog(folder: Path) -> Path:
    """Return where a store's catalog is."""
    return folder / ".lamina" / "catalog.db"


def damaged(patient: Patient, folder: Path, damage: Damage) -> Verdict:
    """Damage a copy and judge it."""
    shutil.copytree(patient.folder, folder)
    damage(catalog(folder))
    return judge(folder, patient.memories, patient.queries, embedder=TinyEmbedder())


@pytest.mark.parametrize("seed", range(24))
def test_random_damage(patient: Patient, tmp_path: Path, seed: int) -> None:
    """Bits flip or a page is lost anywhere: told, or without effect; never a wrong text, and losses are named."""
    rng = random.Random(seed)
    page = rng.randrange(catalog(patient.folder).stat().st_size // PAGE) * PAGE
    kinds: list[Callable[[], Damage]] = [
        lambda: flip_bits(rng, 1),
        lambda: flip_bits(rng, 16),
        lambda: flip_bits(rng, 20, start=page, stop=page + PAGE),
        lambda: overwrite(page, bytes(PAGE)),
        lambda: overwrite(page, b"\xff" * PAGE),
        lambda: overwrite(page, rng.randbytes(PAGE)),
    ]
    damaged(patient, tmp_path / "store", kinds[seed % len(kinds)]())


@pytest.mark.parametrize(
    "damage",
    [
        overwrite(0, b"not a database!!"),
        overwrite(0, bytes(100)),
        overwrite(16, b"\x00\x07"),
        overwrite(0, bytes(PAGE)),
    ],
    ids=["magic", "header zeroed", "page size", "first page zeroed"],
)
def test_a_damaged_header(patient: Patient, tmp_path: Path, damage: Damage) -> None:
    """Without a readable header nothing can be read, and that is said; the damaged file is kept."""
    folder = tmp_path / "store"
    shutil.copytree(patient.folder, folder)
    damage(catalog(folder))
    before = catalog(folder).read_bytes()
    with pytest.raises((CorruptionError, FormatError)), lamina.open(folder, embedder="none"):
        pass
    try:
        report = lamina.repair(folder)
    except LaminaError:
        assert catalog(folder).read_bytes() == before
    else:
        assert report.lost
        assert report.kept_aside is not None
        assert Path(report.kept_aside).read_bytes() == before


@pytest.mark.parametrize("size", [-PAGE, -10 * PAGE, 10 * PAGE, PAGE + 17, PAGE, 50, 0])
def test_a_truncated_catalog(patient: Patient, tmp_path: Path, size: int) -> None:
    """A catalog that lost its end is told; what is before the cut is kept as far as it can be read."""
    assert damaged(patient, tmp_path / "store", truncate_file(size)).before == "detected"


def test_garbage_in_the_log(patient: Patient, tmp_path: Path) -> None:
    """A log that is no log is passed over: everything in the catalog is there."""
    folder = tmp_path / "store"
    shutil.copytree(patient.folder, folder)
    catalog(folder).with_name("catalog.db-wal").write_bytes(random.Random(1).randbytes(50_000))
    verdict = judge(folder, patient.memories, patient.queries, embedder=TinyEmbedder())
    assert verdict == Verdict("unaffected", (), "whole", 0)


@pytest.mark.parametrize("tables", [("dictionary",), ("dictionary_copy",), ("dictionary", "dictionary_copy")])
def test_a_dictionary_that_is_damaged(tmp_path: Path, tables: tuple[str, ...]) -> None:
    """One damaged dictionary is made good by its copy; where both are, texts that need it are told one by one."""
    patient = make_patient(tmp_path / "whole", dictionary=True)

    def damage(path: Path) -> None:
        db = apsw.Connection(str(path))
        for table in tables:
            number, data = db.execute(f"SELECT id, data FROM {table}").fetchall()[0]
            assert isinstance(data, bytes)
            rng = random.Random(2)
            content = bytearray(data)
            for _ in range(200):
                content[rng.randrange(len(content))] ^= 0xFF
            db.execute(f"UPDATE {table} SET data = ? WHERE id = ?", (bytes(content), number))
        db.close()

    verdict = damaged(patient, tmp_path / "store", damage)
    assert verdict.after == ("losses named" if len(tables) == 2 else "whole")
    if len(tables) == 2:
        assert verdict.before == "detected"
        assert "corruption" in verdict.errors


def test_a_field_that_is_changed_beside_us(patient: Patient, tmp_path: Path) -> None:
    """A change of any field that a memory tells is noticed when it is read, and the error names the memory."""
    changes = {
        "body": "CAST('another text' AS BLOB)",
        "title": "'another'",
        "metadata": "'{\"number\":7777}'",
        "created_at": "created_at + 1",
        "importance": "0.123",
        "type": "(type + 1) % 5",
        "tags": "'other'",
        "revision": "9",
        "superseded_by": "'somebody'",
    }
    told: Counter[str] = Counter()
    for number, (field, value) in enumerate(changes.items()):
        folder = tmp_path / field
        shutil.copytree(patient.folder, folder)
        id = list(patient.memories)[number * 5 + 3]
        db = apsw.Connection(str(catalog(folder)))
        db.execute(
            f"UPDATE memory SET {field} = {value}, codec = iif(?1 = 'body', 0, codec) WHERE id = ?2", (field, id)
        )
        db.close()
        with lamina.open(folder, embedder="none") as store:
            with pytest.raises(CorruptionError, match=id):
                store.memories.get(id)
            told["text-damaged"] += "text-damaged" in {problem.code for problem in store.verify("full").problems}
        assert id in str(lamina.repair(folder).lost)
        with lamina.open(folder, embedder="none") as store:
            assert store.memories.count() == len(patient.memories) - 1
            assert store.verify("full").ok
    assert told == {"text-damaged": len(changes)}
    report_counts("changed fields", {"fields": len(changes), "told": told.total()})
