"""The ``kill -9`` harness: a process works, says what it has done, and dies at a random moment."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

__all__ = ["KillOutcome", "Killer"]


@dataclass(slots=True)
class KillOutcome:
    """What one worker said before it died."""

    number: int
    said: list[Any] = field(default_factory=list)
    """What the workload passed to ``acknowledge``, in order."""
    killed: bool = False
    """False where it had finished before its time was up."""


class Killer:
    """Run a workload in processes that are killed with ``SIGKILL`` at random moments.

    ::

        with Killer("my_package.work:add_things") as killer:
            for outcome in killer.kills(folder, count=500, seed=1, options={"size": 3}):
                check(folder, outcome.said)

    The workload is a function ``workload(folder: Path, acknowledge, **options)``. It calls ``acknowledge`` with a small
    JSON value (up to 4,000 bytes) before and after each write, and may run for ever. One interpreter imports everything
    once and forks a worker for each kill, which takes a few milliseconds; the workers themselves open the store anew.

    Args:
        workload: ``"module:function"``.
        preload: Modules to import before the first fork; none of them may start threads or open a store.
        path: Folders for the child's ``sys.path``, beside those of this process.
    """

    def __init__(self, workload: str, *, preload: Sequence[str] = (), path: Sequence[str] = ()) -> None:
        self.workload = workload
        self._preload = [workload.partition(":")[0], *preload]
        self._path = [*path, *sys.path]
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        search = os.pathsep.join(entry for entry in self._path if entry)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "lamina.testing._zygote", *self._preload],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": search, "TOKENIZERS_PARALLELISM": "false"},
        )
        try:
            self._answer()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.close()
            self._process.wait()
            self._process.stdout.close()

    def kill(
        self,
        folder: str | os.PathLike[str],
        *,
        after_s: float,
        options: Mapping[str, Any] = MappingProxyType({}),
        number: int = 0,
    ) -> KillOutcome:
        """Start the workload in ``folder``, kill it after ``after_s`` seconds, and return what it had said.

        Raises:
            AssertionError: The workload itself raised; its traceback is the message.
        """
        assert self._process is not None, "use it as a context manager"
        assert self._process.stdin is not None
        request = {
            "workload": self.workload,
            "folder": os.path.abspath(os.fspath(folder)),
            "options": dict(options),
            "kill_after_s": after_s,
        }
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        outcome = KillOutcome(number)
        while True:
            answer = self._answer()
            if "said" in answer:
                outcome.said.append(answer["said"])
            elif "failed" in answer:
                raise AssertionError(f"the workload failed in run {number}:\n{answer['failed']}")
            else:
                outcome.killed = answer["killed"]
                return outcome

    def kills(
        self,
        folder: str | os.PathLike[str],
        *,
        count: int,
        seed: int = 0,
        longest_s: float = 0.3,
        options: Mapping[str, Any] = MappingProxyType({}),
    ) -> Iterator[KillOutcome]:
        """Kill ``count`` times in the same folder, each after a random time up to ``longest_s``; yield after each.

        Args:
            folder: The workers continue in it, one after another.
            count: How many kills; a worker that finished first is not counted.
            seed: Decides the times, and is passed on in ``options["run"]`` as ``seed`` plus the run's number.
            longest_s: The longest life of a worker.
            options: Passed to the workload.
        """
        rng = random.Random(seed)
        run = killed = 0
        while killed < count:
            assert run < count * 20 + 100, "the workload ends before it can be killed"
            outcome = self.kill(
                Path(folder), after_s=rng.uniform(0.0, longest_s), options={**options, "run": seed + run}, number=run
            )
            run += 1
            killed += outcome.killed
            yield outcome

    def _answer(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise AssertionError("the process that starts the workers ended; see its output above")
        answer: dict[str, Any] = json.loads(line)
        return answer
