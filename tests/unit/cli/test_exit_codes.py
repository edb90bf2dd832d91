"""Every error has its exit code, and the numbers stay."""

from __future__ import annotations

import pytest

import lamina
from lamina.cli.exit_codes import ExitCode, exit_code_for
from lamina.errors import LaminaError


def test_the_numbers_are_a_contract() -> None:
    """Scripts branch on these numbers, so they are written down twice."""
    assert {code.name: int(code) for code in ExitCode} == {
        "OK": 0,
        "FAILURE": 1,
        "USAGE": 2,
        "NOT_FOUND": 3,
        "CONFLICT": 4,
        "LOCKED": 5,
        "READ_ONLY": 6,
        "CORRUPTION": 7,
        "DISK_FULL": 8,
        "FORMAT": 9,
        "DEPENDENCY": 10,
        "BUG": 70,
        "INTERRUPT": 130,
        "BROKEN_PIPE": 141,
    }


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("LaminaError", ExitCode.FAILURE),
        ("InvalidInputError", ExitCode.USAGE),
        ("NotFoundError", ExitCode.NOT_FOUND),
        ("AlreadyExistsError", ExitCode.CONFLICT),
        ("ConflictError", ExitCode.CONFLICT),
        ("LockedError", ExitCode.LOCKED),
        ("ReadOnlyError", ExitCode.READ_ONLY),
        ("StorageError", ExitCode.FAILURE),
        ("DiskFullError", ExitCode.DISK_FULL),
        ("PoisonedError", ExitCode.FAILURE),
        ("CorruptionError", ExitCode.CORRUPTION),
        ("FormatError", ExitCode.FORMAT),
        ("EmbedderError", ExitCode.DEPENDENCY),
        ("DependencyError", ExitCode.DEPENDENCY),
        ("ClosedError", ExitCode.FAILURE),
    ],
)
def test_each_error_has_its_code(name: str, code: ExitCode) -> None:
    """The mapping, error by error."""
    assert exit_code_for(getattr(lamina, name)("x")) is code


def test_no_error_is_forgotten() -> None:
    """A new class of error is either mapped or listed above as one without a number of its own."""
    plain = {"LaminaError", "StorageError", "PoisonedError", "ClosedError"}
    classes = {name for name in lamina.__all__ if name.endswith("Error")}

    unmapped = {name for name in classes if exit_code_for(getattr(lamina, name)("x")) is ExitCode.FAILURE}

    assert unmapped == plain
    assert all(issubclass(getattr(lamina, name), LaminaError) for name in classes)
