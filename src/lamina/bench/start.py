"""How long fresh processes take, as multiples of the bare interpreter in the same run.

Every variant runs once a round, in turn, so that a slow moment of the machine meets all of them; medians are given.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from lamina.bench import BenchOption
from lamina.bench._measure import fresh_environment, machine, timed_process
from lamina.bench._texts import notes

__all__ = ["OPTIONS", "run", "summary"]

OPTIONS: Final = (
    BenchOption(name="rounds", default=15, help="Processes of each kind."),
    BenchOption(name="memories", default=500, help="Memories in the store that is listed and asked."),
    BenchOption(name="pointers", default=150, help="Memory files with a pointer in the index that is printed."),
)

HEAVY: Final = ("numpy", "faiss", "tantivy", "tokenizers", "rich", "click", "textual", "mcp", "apsw")
"""Modules that ``import lamina`` must not load."""

BUDGETS: Final = {"lamina --version": 5.0, "lamina index": 8.0, "lamina recall": 20.0}
"""Most of the bare interpreter's time that a command may take."""

_MAIN: Final = "import sys; from lamina.cli import main; sys.exit(main())"  # what the console script does
_LOADED: Final = "import lamina, sys, json; print(json.dumps(sorted(set(sys.modules) & set(sys.argv[1:]))))"


def run(*, rounds: int = 15, memories: int = 500, pointers: int = 150) -> dict[str, Any]:
    """Measures start-up.

    Returns:
        ``times``: name -> seconds (median), ``ratios``: name -> multiple of ``python -c pass``, ``budgets``, ``ok``,
        and ``heavy_modules`` that ``import lamina`` loaded.
    """
    import lamina

    with tempfile.TemporaryDirectory(prefix="lamina-bench-") as folder:
        place = Path(folder) / "store"
        environment = fresh_environment(Path(folder), LAMINA_STORE=str(place), HOME=folder)
        with lamina.open(place) as store:
            store.memories.add_many(notes(memories))
            store.memories.add_many(
                {"text": text, "type": "project", "title": f"Note {number}", "description": text[:100]}
                for number, text in enumerate(notes(pointers))
            )
        variants = {
            "python -c pass": ["-c", "pass"],
            "lamina --version": ["-c", _MAIN, "--version"],
            "import lamina": ["-c", "import lamina"],
            "lamina --help": ["-c", _MAIN, "--help"],
            "lamina index": ["-c", _MAIN, "index"],
            "lamina list": ["-c", _MAIN, "list"],
            "lamina recall": ["-c", _MAIN, "recall", "why was the search index moved?"],
        }
        times: dict[str, list[float]] = {name: [] for name in variants}
        for number in range(rounds + 1):
            for name, arguments in variants.items():
                seconds = timed_process(arguments, environment)
                if number:  # the first round only warms the disk
                    times[name].append(seconds)
        loaded = subprocess.run(  # noqa: S603 - this interpreter and a constant
            [sys.executable, "-c", _LOADED, *HEAVY], env=environment, capture_output=True, check=True
        )
    medians = {name: statistics.median(values) for name, values in times.items()}
    ratios = {name: seconds / medians["python -c pass"] for name, seconds in medians.items()}
    heavy = json.loads(loaded.stdout)
    return {
        "benchmark": "start",
        "machine": machine(),
        "rounds": rounds,
        "memories": memories,
        "pointers": pointers,
        "times": medians,
        "ratios": ratios,
        "budgets": BUDGETS,
        "heavy_modules": heavy,
        "ok": not heavy and all(ratios[name] <= most for name, most in BUDGETS.items()),
    }


def summary(result: dict[str, Any]) -> list[str]:
    """The figures for people."""
    lines = [f"{'':24}{'ms':>8}{'x bare':>9}   budget"]
    for name, seconds in result["times"].items():
        ratio, budget = result["ratios"][name], result["budgets"].get(name)
        verdict = "" if budget is None else f"{budget:.0f}x {'kept' if ratio <= budget else 'EXCEEDED'}"
        lines.append(f"{name:24}{seconds * 1000:8.1f}{ratio:8.1f}x   {verdict}".rstrip())
    heavy = ", ".join(result["heavy_modules"]) or "none"
    lines.append(f"heavy modules that `import lamina` loads: {heavy}")
    return lines
