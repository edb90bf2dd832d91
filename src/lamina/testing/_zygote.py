"""The child's side of the ``kill -9`` harness: one interpreter that has imported everything forks a worker a kill.

Started as ``python -m lamina.testing._zygote``; speaks JSON lines. Only this process reaps the workers, so a process
id that it kills is never another's.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any


def main() -> None:
    """Answer requests on standard input until it ends."""
    out = os.dup(1)
    os.dup2(2, 1)  # whatever a workload prints must not pass for an answer
    for name in sys.argv[1:]:
        importlib.import_module(name)
    _say(out, {"ready": os.getpid()})
    for line in sys.stdin:
        _serve(json.loads(line), out)


def _serve(request: dict[str, Any], out: int) -> None:
    """Fork a worker, kill it when its time is up, and say how it ended."""
    worker = os.fork()
    if worker == 0:
        _work(request, out)
    deadline = time.monotonic() + request["kill_after_s"]
    status = _reap(worker, deadline)
    killed = status is None
    if status is None:
        os.kill(worker, signal.SIGKILL)
        status = os.waitpid(worker, 0)[1]
    _say(out, {"ended": os.waitstatus_to_exitcode(status), "killed": killed})


def _reap(worker: int, deadline: float) -> int | None:
    """Wait for the worker until the deadline; return its status, or None where it still runs."""
    while True:
        pid, status = os.waitpid(worker, os.WNOHANG)
        left = deadline - time.monotonic()
        if pid or left <= 0:
            return status if pid else None
        time.sleep(min(left, 0.002))


def _work(request: dict[str, Any], out: int) -> None:
    """Run the workload in the worker; never returns."""
    code = 1
    try:
        module, _, function = request["workload"].partition(":")
        workload = getattr(importlib.import_module(module), function)
        workload(Path(request["folder"]), lambda value: _say(out, {"said": value}), **request["options"])
        code = 0
    except BaseException:  # noqa: BLE001  (nothing may unwind into the parent's code)
        _say(out, {"failed": traceback.format_exc()[-1500:]})
    finally:
        os._exit(code)


def _say(out: int, message: dict[str, Any]) -> None:
    """Write one line in one call, so that a kill leaves it whole or absent (pipes take up to 4,096 bytes at once)."""
    line = json.dumps(message).encode() + b"\n"
    assert len(line) <= 4096, "a message must fit one write to a pipe"
    os.write(out, line)


if __name__ == "__main__":
    main()
