from __future__ import annotations

import threading
from pathlib import Path

import lamina
from lamina import Memories
from lamina.embed import StaticEmbedder


def test_eight_threads_on_one_handle(m: Memories) -> None:
    """Threads add, change, ask and list at once: every write is there once, and no question fails."""
    failures: list[BaseException] = []
    ids: list[str] = []

    def work(worker: int) -> None:
        try:
            for number in range(6):
                memory = m.add(f"worker {worker} wrote note {number} about topic{worker}x{number}")
                ids.append(memory.id)
                found = m.recall(f"topic{worker}x{number}", mode="text")
                assert [memory.id] == [hit.memory.id for hit in found]
                assert m.recall("wrote note")
                m.update(memory.id, tags=[f"w{worker}"])
                assert memory.id in {held.id for held in m.list(limit=None)}
        except BaseException as error:  # noqa: BLE001 - told by the main thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [] == failures
    assert 48 == len(set(ids)) == m.count()
    assert [6] * 8 == [m.count(tags=[f"w{number}"]) for number in range(8)]


def test_two_handles_see_each_others_writes_at_once(folder: Path, static: StaticEmbedder) -> None:
    """What one handle wrote, changed or deleted is what the other reads next, in every way of reading."""
    with lamina.open(folder, embedder=static) as one, lamina.open(folder, embedder=static) as two:
        a, b = one.memories, two.memories
        b.recall("pelican")
        memory = a.add("The pelican sleeps.", tags=["new-tag"], scope="user/new")
        assert memory == b.get(memory.id)
        assert [memory.id] == [hit.memory.id for hit in b.recall("pelican")]
        assert 1 == b.count(tags=["new-tag"]) == b.count(scope="user/new")
        b.update(memory.id, text="The heron sleeps.")
        assert [memory.id] == [hit.memory.id for hit in a.recall("heron", mode="text")]
        assert not a.recall("pelican", mode="text")
        a.delete(memory.id, purge=True)
        assert not b.recall("heron")
        assert 0 == b.count()


def test_a_reader_is_not_held_up_by_a_writer(folder: Path, static: StaticEmbedder) -> None:
    """While one handle is inside a write, another reads what was there before."""
    with lamina.open(folder, embedder=static) as one, lamina.open(folder, embedder=static) as two:
        one.memories.add("The pelican sleeps.")
        with one._catalog.write("holding the lock"):
            assert 1 == two.memories.count()
            assert two.memories.recall("pelican")
            with lamina.open(folder, embedder=static) as three:
                assert 1 == len(three.memories.list())
