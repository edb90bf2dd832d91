from __future__ import annotations

import copy
import json
import pickle
import re
from pathlib import Path

import pytest

import lamina
from lamina import errors

ALL = [getattr(errors, name) for name in errors.__all__]
BUILTINS = {
    "InvalidInputError": ValueError,
    "NotFoundError": KeyError,
    "LockedError": TimeoutError,
    "StorageError": OSError,
    "DiskFullError": OSError,
    "PoisonedError": OSError,
    "DependencyError": ImportError,
    "ClosedError": RuntimeError,
}


def test_the_tree_is_the_one_in_the_docstring() -> None:
    """The picture at the top of the module shows every class once, below its parent."""
    found: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r"^ {4}([│ ├└─]*)(\w+Error)\b", line):
            depth = len(match[1]) // 4
            path[depth:] = [match[2]]
            found[match[2]] = path[depth - 1] if depth else ""
    assert {cls.__name__: cls.__bases__[0].__name__ if cls is not lamina.LaminaError else "" for cls in ALL} == found


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)
def test_each_error_is_what_people_expect(cls: type[lamina.LaminaError]) -> None:
    """Every class is public, documented, a LaminaError, and the built-in exception that it stands for."""
    assert issubclass(cls, lamina.LaminaError)
    assert "lamina" == cls.__module__
    assert getattr(lamina, cls.__name__) is cls
    assert cls.__doc__
    if cls.__name__ in BUILTINS:
        assert issubclass(cls, BUILTINS[cls.__name__])


def test_codes_are_unique_and_documented() -> None:
    """Each class has a code of its own, and the page on errors has it in the class's row."""
    codes = [cls.code for cls in ALL]
    assert len(set(codes)) == len(codes)
    page = (Path(__file__).parents[2] / "docs" / "errors.md").read_text(encoding="utf-8")
    for cls in ALL:
        assert re.search(rf"^\| `{cls.__name__}` \| `{cls.code}` \|", page, re.MULTILINE), cls.__name__


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)
def test_an_error_survives_pickle_and_copy(cls: type[lamina.LaminaError]) -> None:
    """Message, hint, details and notes come out of another process as they went in."""
    error = cls("It went wrong.", hint="Do this.", path="/x", limit=3)
    error.add_note("It was item 5.")
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(error) is type(twin)
        assert ("It went wrong.", "Do this.", {"path": "/x", "limit": 3}) == (twin.message, twin.hint, twin.details)
        assert ["It was item 5."] == twin.__notes__
        assert "It went wrong. Do this." == str(twin)


def test_what_json_prints() -> None:
    """to_dict has code, message and hint first, then the details."""
    error = lamina.NotFoundError("There is none.", hint="Look elsewhere.", id="abc")
    assert '{"code": "not-found", "message": "There is none.", "hint": "Look elsewhere.", "id": "abc"}' == json.dumps(
        error.to_dict()
    )


def test_the_message_stands_alone_without_a_hint() -> None:
    """Text of an error has no blank at its end."""
    assert "It went wrong." == str(lamina.NotFoundError("It went wrong."))


def test_what_there_is_instead_is_named() -> None:
    """A hint for a name that is not there begins with those spelled alike, and counts what it leaves out."""
    names = [f"run-{number}" for number in range(8)] + ["net"]

    assert errors.there_are("nett", names).startswith("There are: net, run-0")
    assert errors.there_are("nett", names).endswith(" and 3 more.")
    assert errors.there_are("x", ["a", "b"]) == "There are: a, b."
    assert errors.there_are("x", []) == ""
