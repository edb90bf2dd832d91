from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import lamina
from lamina.errors import ConflictError
from lamina.fs import Operation, observe
from lamina.testing import check_folder, kept_texts, report_counts

Editor = Callable[[Path, bytes], None]


def in_place(path: Path, data: bytes) -> None:
    """Write over the bytes that are there, then cut off the rest."""
    with path.open("r+b") as file:
        file.write(data)
        file.truncate()


def truncating(path: Path, data: bytes) -> None:
    """Empty the file, and write in two parts."""
    with path.open("wb", buffering=0) as file:
        file.write(data[:7])
        file.write(data[7:])


def renaming(path: Path, data: bytes) -> None:
    """Write a new file and rename it over the old one."""
    draft = path.with_name(f".{path.name}.part")
    draft.write_bytes(data)
    draft.replace(path)


def with_backup(path: Path, data: bytes) -> None:
    """Keep a swap file, move the old file away, write a new one, and remove what helped."""
    swap, backup = path.with_name(f".{path.name}.swp"), path.with_name(f"{path.name}~")
    swap.write_bytes(b"b0VIM" + data)
    path.rename(backup)
    path.write_bytes(data)
    backup.unlink()
    swap.unlink()


def save_at(k: int, save: Callable[[], object]) -> tuple[Callable[[Operation], None], list[str]]:
    """Return an observer that saves right before the k-th operation, and what it met there."""
    met: list[str] = []
    seen = 0

    def watch(operation: Operation) -> None:
        nonlocal seen
        if seen == k:
            met.append(operation.kind)
            save()
        seen += 1

    return watch, met


@pytest.mark.parametrize(
    ("change", "editor"),
    [
        *itertools.product(["update"], [in_place, truncating, renaming, with_backup]),
        *itertools.product(["move", "delete", "rename"], [in_place, renaming]),
    ],
)
def test_a_save_at_any_moment_of_a_change(editor: Editor, change: str, tmp_path: Path) -> None:
    """Whenever somebody saves while a process changes the file, both texts are kept, and the file is theirs."""
    conflicts = finished = 0
    for k in range(0, 60, 1 if change == "update" else 2):
        folder = tmp_path / str(k)
        with lamina.open(folder, embedder="none", durability="relaxed") as store:
            memory = store.memories.add("The old text.", title="Title", type="project")
            path = folder / str(memory.path)
            theirs = path.read_bytes().replace(b"The old text.", b"What a person wrote.")

            places = [path, path.with_name("other.md"), folder / "team" / path.name]

            saved: list[bool] = []

            def save(places: list[Path] = places, theirs: bytes = theirs, saved: list[bool] = saved) -> None:
                for place in places:  # an editor that finds nothing asks
                    if place.exists():
                        editor(place, theirs)
                        saved.append(True)
                        break

            watch, met = save_at(k, save)
            error = None
            try:
                with observe(watch):
                    if change == "update":
                        store.memories.update(memory.id, text="Our text.")
                    elif change == "move":
                        store.memories.update(memory.id, scope="team", text="Our text.")
                    elif change == "rename":
                        store.memories.rename(memory.id, "other.md")
                    else:
                        store.memories.delete(memory.id)
            except ConflictError as caught:
                error = caught
        if not met:
            break
        with lamina.open(folder, embedder="none") as store:
            texts = [found.text for found in store.memories.list()]
            kept = kept_texts(folder)
            if error is not None:
                conflicts += 1
                assert path.read_bytes() == theirs
                if change in ("update", "move"):
                    assert "Our text." in (folder / str(error.details["kept"])).read_text("utf-8")
                    assert "Our text." in error.details["wanted"]
                    assert "person" in error.details["found"]
            elif saved:
                finished += 1
                said = [*texts, *kept.values()]
                said += [step.after.text for step in store.memories.history(memory.id) if step.after is not None]
                assert any("What a person wrote." in text for text in said), (k, met)
            assert store.verify("full").ok
            assert store.memories.sync().opened == 0
    else:
        raise AssertionError("a change has no sixty operations")
    assert conflicts or change != "update"
    assert finished or change == "delete"


HUMAN = """
import os, sys, time
path, seconds, style = sys.argv[1], float(sys.argv[2]), sys.argv[3]
head = open(path, "rb").read().split(b"The old text.")[0]
end, number, last = time.monotonic() + seconds, 0, None
print("ready", flush=True)
while time.monotonic() < end:
    if last is not None and open(path, "rb").read() != last:
        print(number, flush=True)  # someone wrote over what was saved: it has to be somewhere
    number += 1
    last = head + b"A person wrote version %d of this.\\n" % number
    if style == "rename":
        with open(path + ".part", "wb") as file:
            file.write(last)
        os.rename(path + ".part", path)
    else:
        with open(path, "wb", buffering=0) as file:
            file.write(last)
    time.sleep(0.004 + 0.013 * (number % 3))
print("end", flush=True)
"""


@pytest.mark.parametrize("style", ["rename", "truncate"])
def test_a_person_and_a_process_at_the_same_file(style: str, tmp_path: Path) -> None:
    """Two processes change one file as fast as they can: every version that was saved and written over is kept."""
    folder = tmp_path / "store"
    with lamina.open(folder, embedder="none", durability="relaxed") as store:
        memory = store.memories.add("The old text.", title="Title", type="project")
        person = subprocess.Popen(
            [sys.executable, "-c", HUMAN, str(folder / str(memory.path)), "1.5", style],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert person.stdout is not None
        assert person.stdout.readline() == "ready\n"
        ours: list[str] = []
        conflicts = 0
        while person.poll() is None:
            store.memories.sync()
            try:
                text = f"A process wrote version {len(ours)} of this."
                store.memories.update(memory.id, text=text)
                ours.append(text)
            except ConflictError:
                conflicts += 1
            time.sleep(0.003)
        overwritten = [line for line in person.stdout.read().split() if line != "end"]
        person.stdout.close()
        assert person.returncode == 0
        store.memories.sync()
        history = "\n".join(step.after.text for step in store.memories.history(memory.id) if step.after is not None)
        everything = "\n".join([history, *kept_texts(folder).values()])
        lost = [number for number in overwritten if f"A person wrote version {number} of this." not in everything]
        assert not lost
        assert [text for text in ours if text not in history] == []
        check_folder(store, kept=10_000)
    assert overwritten
    report_counts(
        f"a person and a process, {style}",
        {"overwritten": len(overwritten), "updates": len(ours), "conflicts": conflicts, "lost": 0},
    )


def test_swap_files_and_backups_are_no_memories(tmp_path: Path) -> None:
    """What editors put beside a file while it is open is not taken for a memory, and does not disturb an update."""
    with lamina.open(tmp_path / "store", embedder="none") as store:
        memory = store.memories.add("Text.", title="Title", type="project")
        name = str(memory.path)
        for other in (f".{name}.swp", f"{name}~", f"#{name}#", f".#{name}", f"{name}.bak", f".{name}.kate-swp", "4913"):
            (tmp_path / "store" / other).write_text("b0VIM 9.1", encoding="utf-8")
        os.symlink("ana@host.1234:1", tmp_path / "store" / f".#lock-{name}")
        assert store.memories.sync().total == 0
        assert store.memories.update(memory.id, text="Other.").text == "Other."
        check_folder(store)
