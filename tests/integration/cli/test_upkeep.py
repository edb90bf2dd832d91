"""init, status, stats, doctor, verify, repair, reindex, backup, completion."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import apsw
import pytest

import lamina
from lamina.errors import CorruptionError
from lamina.maintain.doctor import check_settings, check_store

Cli = Any


def test_init_makes_a_store_and_says_what_next(cli: Cli, tmp_path: Path) -> None:
    """A path, --store, LAMINA_STORE or this folder, in that order; a store that is there stays."""
    made = cli("init", "here")
    again = cli("init", "here", "--json").json

    assert str(tmp_path / "here") in made.out
    assert f"export LAMINA_STORE={tmp_path / 'here'}" in made.out
    assert "export" not in cli("init").out
    assert (again["location"], again["created"]) == (str(tmp_path / "here"), False)
    assert cli("init", "--store", "there", "--json").json["location"] == str(tmp_path / "there")
    assert cli("init", "--json").json["location"] == str(tmp_path / "store")
    with lamina.open(tmp_path / "here", create=False) as store:
        assert store.memories.count() == 0


def test_init_without_a_name_takes_this_folder(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing named the folder one stands in becomes the store, and is found from below."""
    monkeypatch.delenv("LAMINA_STORE")
    (tmp_path / "deep" / "er").mkdir(parents=True)

    assert cli("init", "--json").json["location"] == str(tmp_path)
    monkeypatch.chdir(tmp_path / "deep" / "er")
    assert cli("status", "--json").json["location"] == str(tmp_path)


def test_status_says_which_store_and_why(cli: Cli, filled: dict[str, str], place: Path) -> None:
    """Location, reason, counts, embedder and disk, for people and programs."""
    document = cli("status", "--json").json
    shown = cli("status").out

    assert (document["location"], document["exists"], document["memories"]) == (str(place), True, 4)
    assert "LAMINA_STORE" in document["reason"]
    assert document["by_type"]["project"] == 2
    assert document["free_bytes"] > 0
    assert str(place) in shown
    assert "named by LAMINA_STORE" in shown


def test_status_without_a_store(cli: Cli, place: Path) -> None:
    """It says where one would be, and how to make it: exit code 3."""
    document = cli("status", "--json", code=3).json

    assert (document["location"], document["exists"]) == (str(place), False)
    assert "lamina init" in cli("status", code=3).err


@pytest.mark.parametrize("command", ["list", "stats", "verify", "reindex", "export", "recall x", "get abcdefgh"])
def test_reading_makes_no_store(cli: Cli, place: Path, command: str) -> None:
    """Only add, import and init make one."""
    assert "lamina init" in cli(*command.split(), "--json", code=3).error["hint"]
    assert not place.exists()


def test_stats_counts(cli: Cli, filled: dict[str, str]) -> None:
    """The store's own numbers, and bytes a memory."""
    document = cli("stats", "--json").json

    assert document["memories"] == 4
    assert document["by_scope"] == {"private": 4}
    assert document["bytes_on_disk"]["total"] > 0
    assert re.search(r"bytes a memory", cli("stats").out)


@pytest.mark.parametrize("level", ["structure", "sample", "full"])
def test_verify_finds_nothing_in_a_whole_store(cli: Cli, filled: dict[str, str], level: str) -> None:
    """Exit code 0, and what was looked at."""
    document = cli("verify", "--level", level, "--json").json

    assert (document["ok"], document["problems"], document["level"]) == (True, [], level)
    assert document["checked"]
    assert cli("verify", "--level", level).out.startswith("ok  nothing is wrong")


def test_a_damaged_catalog_is_found_and_repaired(cli: Cli, place: Path) -> None:
    """Verify ends with 7 and names it, a dry run changes nothing, repair saves what is left and keeps the old file."""
    cli(
        "import",
        "-",
        "--no-duplicates",
        stdin="\n\n".join(f"Note {number} about the harbour." for number in range(400)),
    )
    catalog = place / ".lamina" / "catalog.db"
    size = catalog.stat().st_size
    with catalog.open("r+b") as file:  # overwrite one page in the middle
        file.seek(size // 2 // 4096 * 4096)
        file.write(os.urandom(4096))
    before = catalog.read_bytes()

    assert cli("verify", "--level", "full", "--json", code=7)
    found = cli("repair", "--dry-run", "--json", code=7).json
    assert (found["ok"], found["dry_run"]) == (False, True)
    assert found["problems"]
    cli("repair", code=2)
    assert catalog.read_bytes() == before

    done = cli("repair", "--yes", "--json").json
    assert done["kept_aside"]
    assert Path(done["kept_aside"]).exists() or (place / ".lamina" / done["kept_aside"]).exists()
    assert cli("verify", "--level", "full", "--json").json["ok"] is True
    assert cli("list", "--json").json["total"] > 100


def test_a_store_of_the_future_is_refused(cli: Cli, filled: dict[str, str], place: Path) -> None:
    """Exit code 9, and status still says which store it is."""
    connection = apsw.Connection(str(place / ".lamina" / "catalog.db"))
    connection.execute("""UPDATE meta SET value = '["time-travel"]' WHERE key = 'reader_features'""")
    connection.close()

    assert cli("list", "--json", code=9).error["code"] == "format"
    assert str(place) in cli("status", code=9).err
    checks = {check["name"]: check["status"] for check in cli("doctor", "--json", code=7).json["checks"]}
    assert checks["store"] == "fail"


def test_doctor_of_a_whole_store(cli: Cli, filled: dict[str, str], place: Path) -> None:
    """Nothing fails; every check has a name, a status and a message."""
    document = cli("doctor", "--json").json
    names = [check["name"] for check in document["checks"]]

    assert document["ok"] is True
    assert not [check for check in document["checks"] if check["status"] == "fail"]
    assert len(names) >= 12
    assert {"python", "sqlite", "location", "disk", "file system", "in use", "store", "embedder", "catalog"} <= set(
        names
    )
    assert re.search(r"\d+ ok, \d+ to look at, 0 to mend\.", cli("doctor").out)


def test_doctor_warns_and_says_what_to_do(cli: Cli, filled: dict[str, str], place: Path) -> None:
    """Settings that a store's own file may not make, and a folder that others can read."""
    (place / "lamina.toml").write_text('embedder = "openai:x"\nspeed = 9\n', encoding="utf-8")
    (place / ".lamina").chmod(0o755)

    checks = {check["name"]: check for check in cli("doctor", "--json").json["checks"]}

    assert checks["settings"]["status"] == "warn"
    assert "embedder" in checks["settings"]["message"]
    assert "speed" in checks["settings"]["message"]
    assert checks["rights"]["status"] == "warn"
    assert "chmod 700" in checks["rights"]["hint"]


def test_doctor_without_a_store(cli: Cli) -> None:
    """No store yet is nothing broken."""
    checks = {check["name"]: check for check in cli("doctor", "--json").json["checks"]}

    assert (checks["location"]["status"], checks["store"]["status"]) == ("warn", "warn")
    assert "lamina init" in checks["store"]["hint"]


def test_doctor_sees_a_full_disk_and_a_network(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Little room is a warning, none a failure; a network file system is a warning."""
    place.mkdir()
    for free, status in ((10**12, "ok"), (5 * 10**8, "warn"), (10**6, "fail")):
        monkeypatch.setattr("lamina.maintain.doctor.free_bytes", lambda _, free=free: free)
        assert {check.name: check.status for check in check_settings(place, "")}["disk"] == status
    monkeypatch.setattr("lamina.maintain.doctor.filesystem_of", lambda _: "nfs4")
    kind = next(check for check in check_settings(place, "") if check.name == "file system")
    assert (kind.status, "local disk" in kind.hint) == ("warn", True)


def test_doctor_names_the_error_that_keeps_a_store_shut() -> None:
    """Damage is a failure with a way out."""
    (check,) = check_store(CorruptionError("Page 3 is damaged."))

    assert (check.status, check.message) == ("fail", "Page 3 is damaged.")
    assert "lamina repair" in check.hint


def test_reindex_makes_vectors(cli: Cli, place: Path) -> None:
    """Memories that were added without an embedder get their vectors, and recall says what is off until then."""
    with lamina.open(place, embedder="none") as store:
        store.memories.add("The harbour froze over in January.")

    if cli("status", "--json").json["embedder"] is None:
        pytest.skip("the default embedder's package is not installed")
    document = cli("reindex", "--json").json

    assert (document["embedded"], document["waiting"]) == (1, 0)
    assert cli("stats", "--json").json["vectors_waiting"] == 0


def test_backup_is_a_store(cli: Cli, filled: dict[str, str], tmp_path: Path) -> None:
    """The copy opens, holds everything, and never replaces what is there."""
    document = cli("backup", "copy", "--json").json

    assert document["path"] == str(tmp_path / "copy")
    assert document["bytes"] > 0
    assert cli("list", "--store", "copy", "--json").json["total"] == 4
    assert cli("backup", "copy", "--json", code=4).error["code"] == "already-exists"


@pytest.mark.parametrize("command", ["init", "verify", "doctor", "reindex", "repair --yes", "backup copy"])
def test_a_scope_that_cannot_narrow_is_mentioned(cli: Cli, filled: dict[str, str], command: str) -> None:
    """--scope is accepted everywhere, and where it means nothing that is said."""
    assert "--scope does not narrow" in cli(*command.split(), "--scope", "team").err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(cli: Cli, shell: str) -> None:
    """The script asks lamina itself."""
    assert "_LAMINA_COMPLETE" in cli("completion", shell).out
    assert list(cli("completion", shell, "--json").json) == ["shell", "script"]


def test_completion_answers(process: Cli) -> None:
    """Names of commands, options and values complete."""

    def complete(words: str, number: int) -> set[str]:
        answer = process(_LAMINA_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(number), code=0)
        return {line.split(",", 1)[1] for line in answer.out.splitlines()}

    assert complete("lamina re", 1) == {"recall", "repair", "reindex"}
    assert {"--explain", "--store", "--json"} <= complete("lamina recall --", 2)
    assert complete("lamina recall x --mode ", 4) == {"hybrid", "text", "vector"}
