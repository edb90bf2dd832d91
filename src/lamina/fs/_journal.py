"""One small record of an operation in progress, so that whoever opens next can finish what a killed process began.

A killed process loses nothing that it handed to the kernel, so a record costs no fsync unless it is asked for. After a
power loss it may be missing, torn, or an earlier one: what it says is a reason to look, never the truth.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from typing import Any

from lamina.errors import InvalidInputError, NotFoundError
from lamina.fs._files import sync_bytes, sync_names, write_all
from lamina.fs._reading import read_file
from lamina.fs._seam import report
from lamina.fs._translate import check_poison, translate

__all__ = ["Journal"]

MAX_BYTES = 1_000_000
"""Of a record and its head."""
_HEAD = b"lamina-journal 1 %08x %08x\n"
"""Length of the record and its CRC-32, in hexadecimal."""
_HEAD_LENGTH = len(_HEAD % (0, 0))
_HEAD_SHAPE = re.compile(rb"lamina-journal 1 ([0-9a-f]{8}) ([0-9a-f]{8})\n")


class Journal:
    """A file that holds one record, or none.

    Nothing here locks: whoever writes or clears holds the lock of what the record is about.

    Args:
        path: The file; made at the first :meth:`write`, in a folder that exists.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.path.abspath(os.fspath(path))

    def write(self, record: dict[str, Any], *, durable: bool = False) -> None:
        """Replace the record. ``kill -9`` keeps it once this returns; power loss only where it is ``durable``.

        A kill within the call leaves the old record, the new one, or none.

        Args:
            record: JSON-serialisable, with strings as keys.
            durable: Sync it, for what must not be met without its record: two fsyncs.

        Raises:
            InvalidInputError: It is not JSON-serialisable, or larger than 1,000,000 bytes.
            PoisonedError: An fsync failed, now or earlier.
            LaminaError: As :func:`translate` has it.
        """
        try:
            body = json.dumps(record, separators=(",", ":")).encode("ascii")
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidInputError(
                f"The record for {self.path} cannot be written as JSON: {error}.",
                hint="Record strings, numbers, lists and dicts alone.",
                path=self.path,
            ) from error
        if (size := _HEAD_LENGTH + len(body)) > MAX_BYTES:
            raise InvalidInputError(
                f"The record for {self.path} takes {size:,} bytes; at most {MAX_BYTES:,} are kept.",
                hint="Record where a text is, not the text.",
                path=self.path,
                limit=MAX_BYTES,
            )
        check_poison(self.path)
        try:
            if not os.path.lexists(self.path):
                report("create", self.path)
            flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            fd = os.open(self.path, flags, 0o600)
            try:
                # The head counts the record's bytes: what a longer one left behind it does no harm until it is cut off.
                write_all(fd, self.path, _HEAD % (len(body), zlib.crc32(body)) + body, 0)
                report("truncate", self.path, size=size)
                os.ftruncate(fd, size)
                if durable:
                    sync_bytes(fd, self.path)
            finally:
                os.close(fd)
            if durable:  # the name too: an earlier record may have made it without a sync
                sync_names(os.path.dirname(self.path), blame=self.path)
        except OSError as error:
            raise translate(error, self.path, "write") from error

    def read(self) -> dict[str, Any] | None:
        """Return the record, or None where there is none, or none that is whole.

        Raises:
            LaminaError: The file cannot be read; as :func:`translate` has it.
        """
        try:
            data = read_file(self.path, max_bytes=MAX_BYTES, follow=False)
        except (NotFoundError, InvalidInputError):
            return None
        head = _HEAD_SHAPE.match(data)
        if head is None:
            return None
        body = data[head.end() : head.end() + int(head[1], 16)]
        if len(body) != int(head[1], 16) or zlib.crc32(body) != int(head[2], 16):
            return None
        try:
            record = json.loads(body)
        except (ValueError, RecursionError):
            return None
        return record if isinstance(record, dict) else None

    def clear(self) -> None:
        """Empty the file. Power loss may bring the record back, so acting on one twice must do no harm.

        Raises:
            LaminaError: As :func:`translate` has it.
        """
        try:
            fd = os.open(self.path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        except OSError as error:
            raise translate(error, self.path, "clear") from error
        try:
            report("truncate", self.path)
            os.ftruncate(fd, 0)
        except OSError as error:
            raise translate(error, self.path, "clear") from error
        finally:
            os.close(fd)
