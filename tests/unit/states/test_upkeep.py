"""What becomes of states when packs are damaged, versions are collected, and runs go on for long."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

import lamina
from lamina.errors import CorruptionError, NotFoundError
from lamina.states import collect as collecting
from lamina.states import room

Numbers = npt.NDArray[np.float32]


def noise(seed: int, rows: int = 3000) -> Numbers:
    """Return an array that fills a pack."""
    return np.random.default_rng(seed).standard_normal((rows, 32)).astype("f4")


def packs(folder: Path) -> list[Path]:
    """Return the packs of a store, the oldest first."""
    return sorted((folder / ".lamina" / "packs").glob("*.pack"), key=lambda path: path.stat().st_mtime_ns)


def spoil(pack: Path, how: str) -> None:
    """Damage a pack so that a look at its size tells."""
    if how == "missing":
        pack.unlink()
    else:
        os.truncate(pack, pack.stat().st_size // 2)


def flip(pack: Path, at: int) -> None:
    """Change a byte of a pack."""
    data = bytearray(pack.read_bytes())
    data[at] ^= 1
    pack.write_bytes(data)


def codes(store: lamina.Store, level: str = "full") -> list[str]:
    """Return the codes of what verify finds."""
    return [problem.code for problem in store.verify(level).problems]  # type: ignore[arg-type]


# --- readers ---------------------------------------------------------------------------------------------------------


def test_the_first_reader_of_a_store_holds_what_it_reads(folder: Path) -> None:
    """A handle for reading only makes the folder of leases where it may, and says there what it holds."""
    with lamina.open(folder, embedder="none") as store:
        first = store.states.commit("m", {"a": noise(0)})
        with lamina.open(folder, embedder="none", read_only=True) as reader:
            held = reader.states.open("m", first)
            store.states.commit("m", {"a": noise(1)})
            assert "being read" in store.states.retain("m", keep_last=1).kept.values()
            store.states.delete("m", first)
            store.gc()
            np.testing.assert_array_equal(noise(0), held["a"].read())


def test_what_was_collected_is_not_called_damaged(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a reader could take no lease, what went meanwhile was removed; nobody is told to repair the store."""
    with lamina.open(folder, embedder="none") as store:
        first = store.states.commit("m", {"a": noise(0), "small": np.arange(5)})
        with lamina.open(folder, embedder="none", read_only=True) as reader:
            monkeypatch.setattr("lamina.fs.make_dir", refuse)
            held = reader.states.open("m", first)
            monkeypatch.undo()
            store.states.commit("m", {"a": noise(1)})
            store.states.retain("m", keep_last=1)
            store.gc()
            for name in ("a", "small"):
                with pytest.raises(NotFoundError, match="removed meanwhile") as caught:
                    held[name].read()
                assert "repair" not in str(caught.value)


def refuse(path: object, **_: object) -> None:
    """Stand in for a folder that may not be written."""
    raise lamina.errors.ReadOnlyError(f"{path} may not be written.")


# --- packs that are not there ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["missing", "cut short"])
def test_a_commit_stores_anew_what_is_not_there(folder: Path, how: str) -> None:
    """What a pack should hold that is gone or cut short is written again, and heals the versions that need it."""
    with lamina.open(folder, embedder="none") as store:
        store.states.commit("m", {"a": noise(0)})
    spoil(packs(folder)[0], how)
    with lamina.open(folder, embedder="none") as store:
        version = store.states.commit("other", {"a": noise(0)})
        assert version.written
        assert version.written > noise(0).nbytes * 0.8
        np.testing.assert_array_equal(noise(0), store.states.open("other")["a"].read())
        np.testing.assert_array_equal(noise(0), store.states.open("m")["a"].read())
        assert codes(store) == []


@pytest.mark.parametrize("how", ["missing", "cut short"])
def test_a_commit_does_not_build_on_what_is_not_there(folder: Path, how: str) -> None:
    """The next version of a branch whose newest one lost its pack is stored whole, not as a change of it."""
    changed = noise(0)
    changed[5] += 1
    with lamina.open(folder, embedder="none") as store:
        store.states.commit("m", {"a": noise(0)})
    spoil(packs(folder)[0], how)
    with lamina.open(folder, embedder="none") as store:
        store.states.commit("m", {"a": changed})
        np.testing.assert_array_equal(changed, store.states.open("m")["a"].read())
        store.states.commit("m", {"a": changed})
        np.testing.assert_array_equal(changed, store.states.open("m")["a"].read())


@pytest.mark.parametrize("how", ["missing", "cut short", "repaired"])
def test_an_update_of_what_is_not_there_is_refused(folder: Path, how: str) -> None:
    """An update rests on what it leaves alone: where that is gone nothing is written and a whole commit asked for."""
    with lamina.open(folder, embedder="none") as store:
        store.states.commit("m", {"a": noise(0)})
    spoil(packs(folder)[0], how)
    with lamina.open(folder, embedder="none") as store:
        if how == "repaired":
            store.repair()
        with pytest.raises(CorruptionError, match="nothing was written") as caught:
            store.states.update("m", {"a": ([3], noise(1)[:1])})
        assert "Commit the whole array again" in caught.value.hint
        assert len(store.states.log("m")) == 1
        store.states.commit("m", {"a": noise(0)})
        store.states.update("m", {"a": ([3], noise(1)[:1])})
        assert codes(store) == []


def test_a_small_commit_looks_at_no_pack(store: lamina.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects that lie in the catalog need no pack, so nothing is asked of the file system."""
    asked: list[str] = []
    monkeypatch.setattr(store.states.context.home, "size", asked.append)
    for step in range(3):
        store.states.commit("grid", {"cells": np.full((50, 50), float(step))})
    assert asked == []


# --- repair ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [0, 9, -1, -30])
def test_a_pack_whose_header_or_footer_is_damaged_is_mended(folder: Path, at: int) -> None:
    """Objects that can all be read are written anew, so that the store verifies again; nothing is lost."""
    with lamina.open(folder, embedder="none") as store:
        store.states.commit("m", {"a": noise(0)})
    flip(packs(folder)[0], at)
    with lamina.open(folder, embedder="none") as store:
        assert codes(store) == ["pack-damaged"]
        report = store.repair()
        assert (report.lost, report.rebuilt) == ((), ("packs of states",))
        assert codes(store) == []
        np.testing.assert_array_equal(noise(0), store.states.open("m")["a"].read())
        store.gc()
        assert len(packs(folder)) == 1


def test_a_pack_whose_directory_is_damaged_is_mended_as_far_as_it_goes(folder: Path) -> None:
    """What the damaged entry described is lost and named; the other objects of the pack are written anew."""
    with lamina.open(folder, embedder="none") as store:
        version = store.states.commit("m", {"a": noise(0), "b": noise(1)})
        with store.states.context.catalog.read() as reader:
            (record,) = reader.db.execute("SELECT max(record) FROM object").fetchall()[0]
    flip(packs(folder)[0], record + 40)
    with lamina.open(folder, embedder="none") as store:
        assert codes(store) == ["pack-damaged", "object-damaged"]
        (lost,) = store.repair().lost
        assert lost.message == "3,000 of 3,000 rows of array 'b' cannot be read; all else can"
        assert codes(store) == ["version-partly-lost"]
        np.testing.assert_array_equal(noise(0), store.states.open("m", version)["a"].read())


@pytest.mark.parametrize("level", ["structure", "sample", "full"])
def test_known_damage_is_told_until_it_is_mended(folder: Path, level: str) -> None:
    """A version that a repair found damaged is a finding, with its lost rows, until it is healed or deleted."""
    with lamina.open(folder, embedder="none") as store:
        first = store.states.commit("m", {"a": noise(0), "b": np.arange(9)})
        store.states.commit("m", {"a": noise(1), "b": np.arange(9)})
    flip(packs(folder)[0], 40_000)
    with lamina.open(folder, embedder="none") as store:
        (lost,) = store.repair().lost
        assert lost.where == f"version {first.id[:12]} of state 'm'"
        assert lost.message == "128 of 3,000 rows of array 'a' cannot be read; all else can"
        assert "older whole version" in lost.hint
        for _ in range(2):
            (problem,) = store.verify(level).problems  # type: ignore[arg-type]
            assert problem.code == "version-partly-lost"
            assert "known to be damaged: 128 of 3,000 rows of array 'a' cannot be read" in problem.message
            (again,) = store.repair().lost
            assert (again.code, again.message) == (problem.code, problem.message)
            assert "lamina state delete NAME --ref ID" in again.hint
        readable = np.ones(3000, bool)
        with store.states.open("m", first) as state:
            for row in range(3000):
                try:
                    state["a"][row]
                except CorruptionError:
                    readable[row] = False
        assert (~readable).sum() == 128
        store.states.commit("copy", {"a": noise(0)})
        assert codes(store, level) == []
        assert not store.states.log("m")[-1].damaged


@pytest.mark.parametrize("how", ["flipped", "missing"])
def test_what_a_repair_found_is_told_where_it_is_read(folder: Path, how: str) -> None:
    """Reading what is lost names version, rows and what helps, no further repair; infos, lists and counts mark it."""
    with lamina.open(folder, embedder="none") as store:
        store.states.commit("small", {"b": np.arange(9)})  # lies in the catalog, not in the pack
        first = store.states.commit("m", {"a": noise(0), "b": np.arange(9)})
        store.states.commit("m", {"a": noise(1), "b": np.arange(9)})
    if how == "flipped":
        flip(packs(folder)[0], 40_000)
    else:
        packs(folder)[0].unlink()
    lost = 128 if how == "flipped" else 3000
    with lamina.open(folder, embedder="none") as store:
        with store.states.open("m", first) as state, pytest.raises(CorruptionError, match=r"is damaged|missing"):
            state["a"].read()
        store.repair()
        with store.states.open("m", first) as state:
            for read in (
                state["a"].read,
                state.arrays,
                lambda: state["a"][:],
                lambda: list(state["a"].shards()),
                lambda: [state["a"][row] for row in range(3000)],
                lambda: state["a"][list(range(3000))],
            ):
                with pytest.raises(CorruptionError, match=f"known to be damaged: {lost:,} of 3,000 rows") as caught:
                    read()
                assert f"Version {first.id[:12]} of state 'm'" in caught.value.message
                assert "array 'a'" in caught.value.message
                assert "lamina repair" not in caught.value.hint
                assert "lamina state delete NAME --ref ID" in caught.value.hint
            assert state["b"].read().tolist() == list(range(9))
            assert (state["a"].info().lost_rows, state["b"].info().lost_rows) == (lost, 0)
        with store.states.open("m") as whole:
            assert whole["a"].info().lost_rows == 0
        assert [one.damaged for one in store.states.list()] == [1, 0]
        assert store.states.stats()["damaged_versions"] == 1


def test_versions_that_were_let_go_are_counted_apart(store: lamina.Store) -> None:
    """Verify counts the versions that a log shows, and beside them those that wait for a collection."""
    for number in range(5):
        store.states.commit("m", {"a": np.arange(number + 1)})
    assert "versions_let_go" not in store.verify().checked
    store.states.retain("m", keep_last=3)
    checked = store.verify().checked
    assert (checked["versions"], checked["versions_let_go"]) == (3, 2) == (len(store.states.log("m")), 2)
    store.gc()
    assert "versions_let_go" not in store.verify().checked


def test_known_damage_ends_with_the_version(folder: Path) -> None:
    """A damaged version that was deleted, or that retention let go, is no news to verify nor to repair."""
    with lamina.open(folder, embedder="none") as store:
        for number in range(3):
            store.states.commit("m", {"a": noise(number)})
        newest = noise(2)
    for pack in packs(folder)[:2]:
        flip(pack, 40_000)
    with lamina.open(folder, embedder="none") as store:
        store.states.delete("m", store.states.log("m")[2])
        assert len(store.repair().lost) == 1
        assert codes(store) == ["version-partly-lost"]
        store.states.retain("m", keep_last=1)
        assert codes(store) == []
        assert store.repair().lost == ()
        store.gc()
        assert codes(store) == []
        np.testing.assert_array_equal(newest, store.states.open("m")["a"].read())


def test_a_repair_says_what_it_rebuilt(store: lamina.Store) -> None:
    """A store that holds a state alone has no passages and no text indexes to rebuild."""
    store.states.commit("m", {"a": np.arange(4)})
    assert store.repair().rebuilt == ()
    store.memories.add("something to remember")
    assert "passages" in store.repair().rebuilt


# --- room ------------------------------------------------------------------------------------------------------------


def used(folder: Path) -> int:
    """Return the bytes of packs and catalog, without its log."""
    return sum(path.stat().st_size for path in [folder / ".lamina" / "catalog.db", *packs(folder)])


def test_a_run_that_keeps_its_last_keeps_within_a_bound(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What retention lets go is collected by and by: no more than the bound lies dead, whoever reads keeps his."""
    monkeypatch.setattr(room, "GROWTH_BYTES", 1 << 20)
    monkeypatch.setattr(collecting, "_CALLS", 2)
    most = 0
    with lamina.open(folder, embedder="none", durability="relaxed") as store:
        run = store.states.checkpoints("run", keep_last=2)
        run.save(0, {"a": noise(0)})
        held = store.states.open("run")
        for step in range(1, 41):
            run.save(step, {"a": noise(step)})
            most = max(most, used(folder))
        assert 41 * noise(0).nbytes > 5 * most
        np.testing.assert_array_equal(noise(0), held["a"].read())
        np.testing.assert_array_equal(noise(40), store.states.open("run")["a"].read())
        assert codes(store) == []


def test_retention_of_little_collects_nothing(store: lamina.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the bound a call of retain costs a look at sizes, and no collection."""
    monkeypatch.setattr(collecting, "collect", lambda *_, **__: pytest.fail("it collected"))
    run = store.states.checkpoints("run", keep_last=1)
    for step in range(20):
        run.save(step, {"a": np.full(100, step)})


def test_gc_gives_unused_room_of_the_catalog_back_and_says_so_before(folder: Path) -> None:
    """A catalog most of which is unused is written anew, and a dry run tells about what will come back."""
    with lamina.open(folder, embedder="none", durability="relaxed") as store:
        for number in range(80):  # small ones lie in the catalog
            store.states.commit("m", {"a": noise(number, rows=400)})
        for number in range(4):
            store.states.commit("m", {"a": noise(number)})
        store.states.retain("m", keep_last=2)
        promised = store.gc(dry_run=True)
        with store.states.context.catalog.read() as reader:
            pages = reader.db.pragma("page_count")
        done = store.gc()
        with store.states.context.catalog.read() as reader:
            assert reader.db.pragma("page_count") < pages / 4
        assert done["bytes"] > 3_000_000
        assert abs(promised["bytes"] - done["bytes"]) < 0.1 * done["bytes"]
        assert promised["states"]["versions"] == done["states"]["versions"] == 82
        assert promised["states"]["objects"] == done["states"]["objects"]
        assert codes(store) == []


def test_a_version_is_deleted_by_its_whole_id_after_its_parent_was_collected(store: lamina.Store) -> None:
    """What notes that a line steps over collected versions is no branch that has the id as its name."""
    states = store.states
    versions = [states.commit("x", {"a": np.full(10, number)}) for number in range(5)]
    for version in versions[1:3]:
        states.delete("x", version.id)
    store.gc()

    states.branch("x", "other")
    assert states.delete("x", versions[3].id) == 1
    assert [version.id for version in states.log("x")] == [versions[4].id, versions[0].id]


def test_a_pack_that_lost_its_end_alone_is_written_anew(folder: Path) -> None:
    """Where only the directory's end is cut off, nothing is lost: repair writes the pack anew and marks nothing."""
    with lamina.open(folder, embedder="none") as store:
        store.states.commit("x", {"a": noise(0)})
    (pack,) = packs(folder)
    os.truncate(pack, pack.stat().st_size - 10)

    with lamina.open(folder, embedder="none") as store:
        assert "pack-damaged" in codes(store)
        assert store.repair().lost == ()
        assert codes(store) == []
        assert not store.states.log("x")[0].damaged
        store.states.update("x", {"a": ([0], np.ones((1, 32), np.float32))})
        assert (store.states.open("x")["a"][1:] == noise(0)[1:]).all()


def test_a_state_whose_versions_are_all_lost_goes_with_its_names(folder: Path) -> None:
    """After the page that lists all versions was overwritten, repair tells it, and the name can be committed again."""
    import apsw

    with lamina.open(folder, embedder="none") as store:
        for number in range(3):
            store.states.commit("x", {"a": np.full(300, number)})
    catalog = folder / ".lamina" / "catalog.db"
    db = apsw.Connection(str(catalog))
    ((root,),) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'state_version'").fetchall()
    page = int(str(root))
    size = int(str(db.pragma("page_size")))
    db.pragma("wal_checkpoint(TRUNCATE)")
    db.close()
    with catalog.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\x5a" * size)

    lamina.repair(folder)
    with lamina.open(folder, embedder="none") as store:
        assert codes(store) == []
        assert store.states.list() == []
        store.states.commit("x", {"a": np.ones(3)})
        assert store.verify("full").ok


def test_a_branch_that_leads_nowhere_is_damage(folder: Path) -> None:
    """Where the row of a branch's newest version is lost, every call says so and repair goes back to the one before."""
    with lamina.open(folder, embedder="none") as store:
        for number in range(3):
            store.states.commit("x", {"a": np.full(10, number)})
    with lamina.open(folder, embedder="none") as store:
        states = store.states
        with states.context.catalog.write("losing a row") as writer:
            writer.db.execute("DELETE FROM state_version WHERE seq = (SELECT max(seq) FROM state_version)")
        for call in (
            lambda: states.commit("x", {"a": np.ones(10)}),
            lambda: states.update("x", {"a": ([0], [9])}),
            lambda: states.open("x"),
            lambda: states.tag("x", "main", "t"),
        ):
            with pytest.raises(CorruptionError, match="which is not there"):
                call()
        store.repair()

        assert store.verify("full").ok
        assert states.open("x")["a"][0] == 1


@pytest.mark.parametrize("level", ["structure", "sample", "full"])
def test_a_mark_without_damage_is_told_and_taken_away(store: lamina.Store, level: str) -> None:
    """A version that is marked as damaged and is not keeps verify from being content until repair has looked."""
    store.states.commit("x", {"a": np.arange(9)})
    with store.states.context.catalog.write("marking") as writer:
        writer.db.execute("UPDATE state_version SET damaged = 1")

    assert codes(store, level) == ["version-marked"]
    assert store.repair().lost == ()
    assert codes(store, level) == []


def test_states_whose_rows_are_lost_get_their_names_back(store: lamina.Store) -> None:
    """The names of states are found again in the manifests of their versions."""
    for name in "xyz":
        store.states.commit(name, {"a": np.arange(9)})
    with store.states.context.catalog.write("losing rows") as writer:
        writer.db.execute("DELETE FROM state WHERE name <> 'z'")
    store.repair()

    assert [one.name for one in store.states.list()] == ["x", "y", "z"]
    assert store.verify("full").ok
