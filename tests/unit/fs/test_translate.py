from __future__ import annotations

import errno
import os

import pytest

from lamina.errors import (
    AlreadyExistsError,
    DiskFullError,
    LaminaError,
    LockedError,
    NotFoundError,
    ReadOnlyError,
    StorageError,
)
from lamina.fs import translate


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ENOSPC, DiskFullError),
        (errno.EDQUOT, DiskFullError),
        (errno.EFBIG, DiskFullError),
        (errno.EROFS, ReadOnlyError),
        (errno.EACCES, ReadOnlyError),
        (errno.EPERM, ReadOnlyError),
        (errno.ENOENT, NotFoundError),
        (errno.EEXIST, AlreadyExistsError),
        (errno.EIO, StorageError),
        (errno.ELOOP, StorageError),
    ],
)
def test_each_number_has_its_error(code: int, kind: type[LaminaError]) -> None:
    """Each number of the operating system becomes the error that a handler would act on."""
    error = translate(OSError(code, os.strerror(code)), "/x/y", "write")
    assert type(error) is kind
    assert error.message == f"Could not write /x/y: {os.strerror(code)}."
    assert error.hint.endswith(".")
    assert error.details == {"path": "/x/y", "errno": code}


def test_ours_passes_unchanged() -> None:
    """An error that is ours already is not wrapped again, though some are OSErrors."""
    ours = LockedError("held")
    assert translate(ours, "/x", "write") is ours


def test_an_error_without_words() -> None:
    """An OSError without number or text still gives a full sentence."""
    assert translate(OSError(), "/x", "read").message == "Could not read /x: OSError."
