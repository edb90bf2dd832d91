"""Ways of keeping a grid: files, versions, sessions, checkpoints, experiments, autosave.

    python examples/persistence.py [FOLDER]

makes a store in FOLDER (a temporary one when not given), goes through all of them and prints what each costs.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import lamina
from lamina.formats import read_state, write_state


def files(grid: lamina.ToroidalGrid, folder: Path) -> None:
    """Write and read the grid in each of the older formats."""
    arrays, metadata = grid.to_state()
    for name, format in (
        ("grid.bin", "toroidal-bin"),
        ("grid.session", "toroidal-gzip"),
        ("grid.json", "toroidal-json"),
        ("snapshot.json", "toroidal-snapshot"),
    ):
        written = write_state(folder / name, format, arrays, metadata)
        back = lamina.ToroidalGrid.from_state(read_state(folder / name).arrays)
        print(f"  {format:18} {written.bytes:7,} bytes, exact: {(back.cells == grid.cells).all()}")


def main(folder: Path) -> None:
    """Go through the ways of keeping a grid."""
    grid = lamina.ToroidalGrid(50, 50, metadata={"user_id": "ada"})
    grid.activate_radius(*grid.cell_of("the sea"), 9, 0.9)
    grid.activate_radius(*grid.cell_of("coffee"), 6, 0.7)
    print("A grid of 50 x 50:")
    print(grid.picture(50, color=False))

    print("\nFiles")
    files(grid, folder)

    with lamina.open(folder / "store", embedder="none") as store:
        states = store.states

        print("\nVersions: a change costs what changed")
        first = states.commit("grid", grid, message="a new grid")
        for x in range(5):
            grid.activate(x, 40, 0.5)
        second = states.commit("grid", grid, message="five cells")
        print(f"  first {first.written:,} bytes, then {second.written:,} bytes")
        for change in states.diff("grid", first, second).changes:
            print(f"  {change.name}: {change.rows} row changed, at most by {change.largest_change}")
        states.restore("grid", first.created_at, message="as it was at first")

        print("\nSessions by user")
        sessions = states.sessions()
        for user in ("ada", "bob", "ada"):
            sessions.save(user, grid)
        for one in sessions.users():
            print(f"  {one.name}: {one.versions} saved, the newest at {one.updated_at:%H:%M:%S}")
        sessions.expire()  # what is older than 30 days

        print("\nCheckpoints: the last three are kept")
        run = states.checkpoints("run", keep_last=3)
        for step in range(10, 60, 10):
            grid.diffuse(2)
            run.save(step, grid)
        latest = run.latest()
        assert latest is not None
        step, state = latest
        with state:
            resumed = lamina.ToroidalGrid.from_state(state)
        print(f"  kept {[version.step for version in run.list()]}, resumed at {step}, exact: {resumed == grid}")

        print("\nExperiments begin alike")
        trials = states.experiments("grid")
        for name, rate in (("gentle", 0.05), ("strong", 0.5)):
            with trials.start(name) as state:
                trial = lamina.ToroidalGrid.from_state(state)
            trial.diffuse(20, lamina.DiffusionConfig(diffusion_rate=rate, decay_rate=0.0))
            trials.record(name, trial, {"active": trial.stats().active, "largest": round(trial.stats().maximum, 3)})
        for row in trials.compare("active"):
            print(f"  {row.name:8} {dict(row.results)}")
        trials.best("active", "widest")

        print("\nAutosave: at most half a second is lost")
        with states.autosave("live", lambda: grid, 0.5) as auto:
            for x in range(20):
                grid.activate(x, 10, 0.1)
                auto.mark()
        print(f"  {len(states.log('live'))} version for 20 changes")

        report = store.verify("full")
        print(f"\nverify: {'ok' if report.ok else report.problems}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as made:
            main(Path(made))
