"""States from the shell."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lamina
from lamina.cli.exit_codes import ExitCode
from lamina.formats import READABLE_STATES, WRITABLE_STATES, read_state, write_state

Cli = Any


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of two arrays."""
    path = tmp_path / "weights.npz"
    np.savez(path, w=np.arange(12.0).reshape(3, 4), b=np.zeros(4))
    return path


def test_a_state_is_committed_compared_and_restored(cli: Cli, file: Path, tmp_path: Path) -> None:
    """Commit, log, show, diff, tag, branch, restore, retain, export and delete do what they say."""
    first = cli("state", "commit", "m", str(file), "-m", "first", "--step", "3", "--json").json["version"]
    assert ("first", 3, ["main"]) == (first["message"], first["step"], first["branches"])
    np.savez(file, w=np.arange(12.0).reshape(3, 4) + 1, b=np.zeros(4))
    cli("state", "commit", "m", str(file))
    assert ["m"] == [one["name"] for one in cli("state", "list", "--json").json["states"]]
    log = cli("state", "log", "m", "--json").json["versions"]
    assert first["id"] == log[1]["id"]
    shown = cli("state", "show", "m", "--codecs", "--json").json
    assert ["b", "w"] == [array["name"] for array in shown["arrays"]]
    assert [1, 1] == [sum(array["codecs"].values()) for array in shown["arrays"]]
    change = cli("state", "diff", "m", first["id"], "--json").json["diff"]["changes"]
    assert [("w", 3, 1.0)] == [(one["name"], one["rows"], one["largest_change"]) for one in change]
    assert "largest change" in cli("state", "diff", "m", first["id"][:8]).out
    cli("state", "tag", "m", "best", "--ref", first["id"])
    cli("state", "branch", "m", "side", "--ref", "best")
    cli("state", "restore", "m", "best")
    out = tmp_path / "out.npz"
    cli("state", "export", "m", str(out))
    assert np.array_equal(np.arange(12.0).reshape(3, 4), np.load(out)["w"])
    plan = cli("state", "retain", "m", "--keep-last", "1", "--dry-run", "--json").json["retain"]
    assert [log[0]["id"]] == plan["removed"]
    cli("state", "retain", "m", "--keep-last", "1", "--yes")
    assert 1 == cli("gc", "--json").json["states"]["versions"]
    cli("state", "delete", "m", "--yes")
    assert [] == cli("state", "list", "--json").json["states"]
    assert cli("verify", "--level", "full", "--json").json["ok"]


def test_what_cannot_be(cli: Cli, file: Path, tmp_path: Path) -> None:
    """A missing state, a file that is none and a question without a terminal end with their own codes."""
    cli("state", "commit", "m", str(file))
    (tmp_path / "text.npz").write_text("no arrays")
    cli("state", "commit", "m", str(tmp_path / "text.npz"), code=ExitCode.USAGE)
    cli("state", "show", "other", code=ExitCode.NOT_FOUND)
    cli("state", "delete", "m", code=ExitCode.USAGE)
    assert 1 == len(cli("state", "log", "m", "--json").json["versions"])


@pytest.fixture
def grid() -> lamina.ToroidalGrid:
    """A grid with one bright cell."""
    made = lamina.ToroidalGrid(20, 20, metadata={"user_id": "ada"})
    made.activate_radius(10, 10, 4.0)
    return made


@pytest.mark.parametrize("form", sorted(set(WRITABLE_STATES) & set(READABLE_STATES)))
def test_every_format_goes_in_and_out(cli: Cli, tmp_path: Path, grid: lamina.ToroidalGrid, form: str) -> None:
    """What is imported from a format is found by content, committed, exported to it again, and read as it was."""
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {"cells": grid.cells}
    metadata: dict[str, Any] = grid.to_state()[1]
    if form == "npy":
        arrays, metadata = {"array": grid.cells}, {}
    elif form.startswith("titan") or form in ("tmem", "tmem-shards", "pytorch"):
        arrays, metadata = _TITAN[form](rng), {}
    elif form == "toroidal-delta":
        x, y, value = grid.delta_since(lamina.ToroidalGrid(20, 20))
        arrays, metadata = {"x": x, "y": y, "value": value}, {}
    one, two = tmp_path / "one", tmp_path / "two"
    write_state(one, form, arrays, metadata)
    before = read_state(one)
    done = cli("state", "import", str(one), "--name", "m", "--json").json
    assert ("safetensors" if form == "pytorch" else form) == done["format"]
    written = cli("state", "export", "m", str(two), "--format", form, "--json").json
    assert form == written["format"]
    after = read_state(two)
    assert before.format == after.format
    assert set(before.arrays) == set(after.arrays)
    for name, array in before.arrays.items():
        np.testing.assert_array_equal(array, after.arrays[name])


_TITAN: dict[str, Callable[[np.random.Generator], dict[str, Any]]] = {
    "titan-memory": lambda rng: {"shortTerm": rng.random((4, 3)).astype("f4"), "meta": rng.random((4, 2)).astype("f4")},
    "titan-model": lambda rng: {"weights/0": rng.random((4, 3)).astype("f4"), "weights/1": np.ones(3, "f4")},
    "titan-protobuf": lambda rng: {"short_term/0": rng.random((4, 3)).astype("f4")},
    "titan-checkpoint": lambda rng: {"shortTerm": rng.random((4, 3)).astype("f4")},
    "tmem": lambda rng: {"tensor": rng.random((4, 3)).astype("f4")},
    "tmem-shards": lambda rng: {"short_term": rng.random((1500, 3)).astype("f4")},
    "pytorch": lambda rng: {"layer.weight": rng.random((4, 3)).astype("f4"), "layer.bias": np.zeros(4, "f4")},
}


def test_a_grid_is_drawn_and_written_as_its_name_says(cli: Cli, tmp_path: Path, grid: lamina.ToroidalGrid) -> None:
    """A grid is drawn in the terminal and as PNG; 50 x 50 takes 20,008 bytes; a snapshot carries who and when."""
    store = tmp_path / "grids"
    with lamina.open(store, embedder="none") as opened:
        opened.states.commit("small", grid)
        opened.states.commit("large", lamina.ToroidalGrid(50, 50))
    where = ("--store", str(store))
    drawn = cli(*where, "state", "show", "small", "--picture").out
    assert 10 == sum("█" in line or "▓" in line or "░" in line or not line.strip() for line in drawn.splitlines()[-10:])
    assert grid.picture(width=80, color=False) in drawn
    image = tmp_path / "grid.png"
    shown = cli(*where, "state", "show", "small", "--png", str(image), "--json").json
    assert str(image) == shown["png"]
    data = image.read_bytes()
    assert (b"\x89PNG\r\n\x1a\n", (160, 160)) == (data[:8], struct.unpack(">II", data[16:24]))
    cli(*where, "state", "show", "small", "--png", str(image), code=ExitCode.CONFLICT)
    cli(*where, "state", "show", "small", "--picture", "--layer", "emotion", code=ExitCode.USAGE)
    for name, form in (("a.bin", "toroidal-bin"), ("b.session", "toroidal-gzip"), ("c.json", "toroidal-snapshot"),
                       ("d.db", "toroidal-sqlite"), ("e", "safetensors")):  # fmt: skip
        assert form == cli(*where, "state", "export", "large", str(tmp_path / name), "--json").json["format"]
    assert 20_008 == (tmp_path / "a.bin").stat().st_size
    cli(*where, "state", "export", "small", str(tmp_path / "f.json"))
    facts = read_state(tmp_path / "f.json").metadata
    assert "ada" == facts["user_id"]
    moment = datetime.fromisoformat(facts["created_at"])
    assert abs((datetime.now(UTC) - moment).total_seconds()) < 60


def test_what_a_format_has_no_place_for_is_told(cli: Cli, tmp_path: Path, grid: lamina.ToroidalGrid) -> None:
    """Notes of an export stand on standard error and in the document; nothing is left out silently."""
    with lamina.open(tmp_path / "grids", embedder="none") as opened:
        opened.states.commit("g", grid)
    done = cli("--store", str(tmp_path / "grids"), "state", "export", "g", str(tmp_path / "a.bin"))
    assert "user_id" in done.err
    with pytest.raises(lamina.AlreadyExistsError):
        write_state(tmp_path / "a.bin", "toroidal-bin", {"cells": grid.cells}, {})
    cli("--store", str(tmp_path / "grids"), "state", "export", "g", str(tmp_path / "a.bin"), code=ExitCode.CONFLICT)
    again = cli(
        "--store", str(tmp_path / "grids"), "state", "export", "g", str(tmp_path / "a.bin"), "--replace", "--json"
    )
    assert any("user_id" in note for note in again.json["notes"])


def test_experiments_are_compared(cli: Cli, tmp_path: Path) -> None:
    """A table of branches with results, sorted by one of them."""
    with lamina.open(tmp_path / "trials", embedder="none") as opened:
        opened.states.commit("m", {"w": np.zeros(3)})
        trials = opened.states.experiments("m")
        for name, loss in (("warm", 0.5), ("cold", 0.25)):
            trials.start(name).close()
            trials.record(name, {"w": np.full(3, loss)}, {"loss": loss})
        trials.best("loss", "best", largest=False)
    where = ("--store", str(tmp_path / "trials"))
    rows = cli(*where, "state", "compare", "m", "--by", "loss", "--smallest", "--json").json["experiments"]
    assert [("cold", 0.25, ["best"]), ("warm", 0.5, [])] == [
        (row["name"], row["results"]["loss"], row["tags"]) for row in rows
    ]
    lines = cli(*where, "state", "compare", "m", "--by", "loss").out.splitlines()
    assert [["experiment", "loss", "version", "tags"], ["warm", "0.5"], ["cold", "0.25"]] == [
        line.split()[: 4 if not number else 2] for number, line in enumerate(lines)
    ]


FIELDS = {
    "list": ["state", "list"],
    "show": ["state", "show", "m", "--codecs"],
    "log": ["state", "log", "m"],
    "diff": ["state", "diff", "m", "one", "main"],
    "tag": ["state", "tag", "m", "two"],
    "branch": ["state", "branch", "m", "side"],
    "restore": ["state", "restore", "m", "one"],
    "retain": ["state", "retain", "m", "--keep-last", "1", "--yes"],
    "compare": ["state", "compare", "m"],
    "export": ["state", "export", "m", "out.npz"],
    "commit": ["state", "commit", "m", "weights.npz"],
    "import": ["state", "import", "weights.npz", "--name", "n"],
    "delete": ["state", "delete", "m", "--yes"],
}


@pytest.mark.parametrize("name", list(FIELDS))
def test_every_field_is_documented(cli: Cli, file: Path, repository: Path, name: str) -> None:
    """Each field of each subcommand stands in its section of docs/json.md."""
    assert "weights.npz" == file.name
    cli("state", "commit", "m", str(file))
    cli("state", "tag", "m", "one")
    np.savez(file, w=np.ones((3, 4)), b=np.zeros(4))
    cli("state", "commit", "m", str(file))
    text = (repository / "docs" / "json.md").read_text(encoding="utf-8")
    section = text.split("## `state`")[1].split("\n## ")[0]
    told = set(re.findall(r"`([a-z_]+)`", section))

    def fields(value: Any) -> set[str]:
        if isinstance(value, list):
            return {key for item in value for key in fields(item)}
        if not isinstance(value, dict):
            return set()
        named = {"codecs", "kept", "metadata", "results", "saves"}  # objects whose keys are names, not fields
        return set(value) | {key for outer, item in value.items() if outer not in named for key in fields(item)}

    assert fields(cli(*FIELDS[name], "--json").json) <= told


def test_the_shell_says_why_and_what(cli: Cli, file: Path, tmp_path: Path) -> None:
    """Codecs say what was measured, dtypes are called as people call them, and metadata is JSON."""
    noise = np.random.default_rng(0).standard_normal((200, 100)).astype("f4")
    write_state(tmp_path / "noise.npz", "npz", {"w": noise, "s": np.zeros(2, "i2")}, {"lr": 0.1, "on": True, "x": None})
    cli("state", "commit", "m", str(tmp_path / "noise.npz"))
    shown = cli("state", "show", "m", "--codecs")
    for said in ("float32 200 x 100", "int16 2", "on: true", "x: null", "shuffle+zstd would save", "10% is asked for"):
        assert said in shown.out, shown.out
    with lamina.open(None, embedder="none") as store:
        store.states.update("m", {"w": (slice(0, 40), noise[:40] + 1)})
    assert "% stored, patches of changed rows included" in cli("state", "show", "m").out
    measured = {one["name"]: one["measured"] for one in cli("state", "show", "m", "--codecs", "--json").json["arrays"]}
    assert 0 < measured["w"]["saves"]["shuffle+zstd"] < measured["w"]["needed"] == 0.1
    assert {} == measured["s"]["saves"]


def test_a_name_that_says_no_format_writes_nothing(cli: Cli, file: Path, tmp_path: Path) -> None:
    """An ending that is of no format, of one that is read only, or of a folder is refused with what there is."""
    cli("state", "commit", "m", str(file))
    for name in ("net.zarr", "net.pt", "net.xyz", "net.bin", "netd/"):
        told = cli("state", "export", "m", f"{tmp_path}/{name}", code=ExitCode.USAGE)
        assert "--format" in told.err
    assert "read but not written" in cli("state", "export", "m", str(tmp_path / "x.zarr"), code=ExitCode.USAGE).err
    told = cli("state", "export", "m", str(tmp_path / "x"), "--format", "zarr", code=ExitCode.USAGE)
    assert "can be read, but not written" in told.err
    assert [file.name] == [path.name for path in tmp_path.iterdir() if path.name.startswith(("net", "x", "weights"))]
    assert "safetensors" == cli("state", "export", "m", str(tmp_path / "net"), "--json").json["format"]
    assert "--replace" in cli("state", "export", "m", str(tmp_path / "net"), code=ExitCode.CONFLICT).err


def test_deleting_and_retaining_say_what_goes(cli: Cli, file: Path) -> None:
    """A dry run names what would go and does nothing; hints are in words of the shell."""
    ids = []
    for number in range(3):
        np.savez(file, w=np.full(3, number))
        ids.append(cli("state", "commit", "m", str(file), "--json").json["version"]["id"])
    planned = cli("state", "retain", "m", "--keep-last", "1", "--dry-run").out
    assert all(f"{id[:12]}  goes" in planned for id in ids[:2])
    assert "--keep-last" in cli("state", "retain", "m", "--yes", code=ExitCode.USAGE).err
    assert "3 versions" in cli("state", "delete", "m", "--dry-run").out
    assert "1 version." in cli("state", "delete", "m", "--ref", ids[0], "--dry-run").out
    cli("state", "delete", "m", "--ref", ids[2], "--dry-run", code=ExitCode.USAGE)
    assert 3 == len(cli("state", "log", "m", "--json").json["versions"])
    told = cli("state", "commit", "m", str(file), "--branch", "dev", code=ExitCode.NOT_FOUND)
    assert "`lamina state branch`" in told.err
    assert "the branch 'dev' alone" in cli("state", "commit", "new", str(file), "--branch", "dev").err
    assert "dev" in cli("state", "show", "new", code=ExitCode.NOT_FOUND).err
    assert "2 versions deleted" in cli("state", "retain", "m", "--keep-last", "1", "--yes").out


def test_a_moment_is_a_ref_at_the_shell(cli: Cli, file: Path) -> None:
    """A time in ISO 8601 names what main was then, wherever a version is asked for."""
    first = cli("state", "commit", "m", str(file), "--json").json["version"]
    np.savez(file, w=np.zeros(3))
    cli("state", "commit", "m", str(file))
    moment = first["created_at"]
    assert first["id"] == cli("state", "show", "m", "--ref", moment, "--json").json["version"]["id"]
    assert cli("state", "diff", "m", moment, "--json").json["diff"]["changes"]
    cli("state", "restore", "m", moment)
    assert [] == cli("state", "diff", "m", moment, "--json").json["diff"]["changes"]


def test_what_is_no_grid_and_no_result(cli: Cli, file: Path, tmp_path: Path) -> None:
    """A picture of a state that is no grid, and a result that nobody recorded, are refused with what there is."""
    cli("state", "commit", "m", str(file))
    told = cli("state", "show", "m", "--picture", code=ExitCode.USAGE).err
    assert "State 'm' is no grid" in told
    assert "b, w" in told
    empty = cli("state", "compare", "m")
    assert "" == empty.out.strip()
    with lamina.open(None, embedder="none") as store:
        store.states.experiments("m").start("a").close()
        store.states.experiments("m").record("a", {"w": np.zeros(1)}, {"loss": 1.0})
    assert "There are: loss." in cli("state", "compare", "m", "--by", "los", code=ExitCode.USAGE).err
    cli("state", "compare", "m", "--by", "loss", "--largest")


def test_files_are_their_owners(cli: Cli, tmp_path: Path, grid: lamina.ToroidalGrid) -> None:
    """An export and an image have the same permission bits; an image is replaced only where that is asked for."""
    write_state(tmp_path / "g.bin", "toroidal-bin", {"cells": grid.cells})
    cli("state", "commit", "g", str(tmp_path / "g.bin"))
    cli("state", "show", "g", "--png", str(tmp_path / "g.png"))
    cli("state", "export", "g", str(tmp_path / "g.session"))
    assert {0o600} == {(tmp_path / name).stat().st_mode & 0o777 for name in ("g.png", "g.session")}
    assert "--replace" in cli("state", "show", "g", "--png", str(tmp_path / "g.png"), code=ExitCode.CONFLICT).err
    cli("state", "show", "g", "--png", str(tmp_path / "g.png"), "--replace")


def test_a_time_is_a_ref_as_it_is_shown_and_as_people_say_it(cli: Cli, file: Path) -> None:
    """What a log shows names its version; spans, days and local times are as for recall, where no name is so called."""
    first = cli("state", "commit", "m", str(file), "--json").json["version"]
    shown = cli("state", "log", "m").out.split()[1]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", shown)
    assert first["id"] == cli("state", "show", "m", "--ref", shown, "--json").json["version"]["id"]
    cli("state", "restore", "m", shown)
    local = datetime.fromisoformat(first["created_at"]).astimezone().replace(tzinfo=None)
    newest = cli("state", "log", "m", "--json").json["versions"][0]["id"]
    for ref in (f"{local:%Y-%m-%dT%H:%M}", f"{local:%Y-%m-%d %H:%M:%S}", "today", "now"):
        found = cli("state", "log", "m", "--ref", ref, "--json").json["versions"]
        assert first["id"] == found[-1]["id"]
    assert newest == cli("state", "show", "m", "--ref", "today", "--json").json["version"]["id"]
    assert 0 == len(cli("state", "diff", "m", "today", "--json").json["diff"]["changes"])
    for ref in ("7d", "yesterday", "2020-01-01", "2020-01-01T00:00"):
        assert "had no version by" in cli("state", "restore", "m", ref, code=ExitCode.NOT_FOUND).err
    for ref in ("nothing", "abcdef", "12345d"):
        assert "no version, branch or tag" in cli("state", "show", "m", "--ref", ref, code=ExitCode.NOT_FOUND).err
    cli("state", "tag", "m", "yesterday", "--ref", first["id"])
    assert first["id"] == cli("state", "show", "m", "--ref", "yesterday", "--json").json["version"]["id"]


def test_known_damage_is_marked_wherever_states_are_shown(cli: Cli, place: Path, tmp_path: Path) -> None:
    """After a repair list, show and status say what is damaged; another repair tells it again, and none is advised."""
    rng = np.random.default_rng(0)
    with lamina.open(place, embedder="none") as store:
        store.states.commit("small", {"b": np.zeros(3)})  # lies in the catalog, not in the pack
        first = store.states.commit("m", {"a": rng.random((3000, 64)), "b": np.zeros(3)})
        store.states.commit("m", {"a": rng.random((3000, 64)), "b": np.zeros(3)})
    pack = min((place / ".lamina" / "packs").glob("*.pack"), key=lambda path: path.stat().st_mtime_ns)
    pack.unlink()
    assert "1 problem " in cli("verify", code=ExitCode.CORRUPTION).out
    for _ in range(2):
        said = cli("repair", "--yes").out
        assert "lost: version" in said
        assert "3,000 of 3,000 rows of array 'a'" in said
        assert "lamina state delete NAME --ref ID" in said
    assert "1 damaged" in cli("state", "list").out
    assert "1 damaged" in cli("status").out
    shown = cli("state", "show", "m", "--ref", first.id).out.splitlines()
    assert ["damaged: 3,000 of 3,000 rows cannot be read" in line for line in shown] == [False, True, False]
    failed = cli("state", "export", "m", str(tmp_path / "x.npz"), "--ref", first.id, code=ExitCode.CORRUPTION).err
    assert "known to be damaged: 3,000 of 3,000 rows of array 'a'" in failed
    assert "lamina repair" not in failed
    cli("state", "delete", "m", "--ref", first.id, "--yes")
    assert "2 versions, 1 version let go (`lamina gc` takes it)" in cli("verify").out
    assert "lost" not in cli("repair", "--yes").out
    assert "damaged" not in cli("state", "list").out + cli("status").out


def test_what_was_done_is_said(cli: Cli, file: Path, tmp_path: Path, grid: lamina.ToroidalGrid) -> None:
    """A commit of what is there already is no failure, and a picture that was written is named."""
    assert "Written: " in cli("state", "commit", "m", str(file)).err
    assert "All of it was there already" in cli("state", "import", str(file), "--name", "m").err
    write_state(tmp_path / "grid.bin", "toroidal-bin", {"cells": grid.cells}, grid.to_state()[1])
    cli("state", "import", str(tmp_path / "grid.bin"), "--name", "g")
    assert f"Written to {tmp_path / 'g.png'}." in cli("state", "show", "g", "--png", "g.png").err
