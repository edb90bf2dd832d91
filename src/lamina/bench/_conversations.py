"""LoCoMo's file: read, checked, and turned into turns and questions.

The file is anyone's, so its shape is checked before it is used, and every error says where in it the fault is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NoReturn

from lamina.errors import InvalidInputError, NotFoundError, StorageError

__all__ = ["Conversation", "Query", "Turn", "load"]

_MAX_BYTES: Final = 200_000_000
_SESSION: Final = re.compile(r"session_(\d{1,4})")
_TURN_ID: Final = re.compile(r"D:?(\d+):(\d+)")
_DATE: Final = re.compile(r"(\d{1,2}):(\d{2}) (am|pm) on (\d{1,2}) ([A-Za-z]+),? (\d{4})", re.IGNORECASE)
_MONTHS: Final = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
]

TurnId = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a dialogue."""

    id: TurnId
    text: str
    session: int
    position: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Query:
    """A question, and the turns that hold its evidence."""

    text: str
    evidence: frozenset[TurnId]
    category: int


@dataclass(frozen=True, slots=True)
class Conversation:
    """One corpus of turns, with the questions about it that have evidence in it."""

    name: str
    turns: tuple[Turn, ...]
    queries: tuple[Query, ...]
    skipped: int
    """Questions without usable evidence."""


def load(path: str) -> list[Conversation]:
    """Reads a file of conversations.

    Raises:
        NotFoundError: There is no such file.
        StorageError: It cannot be read.
        InvalidInputError: It is not JSON, or not of LoCoMo's shape; says where.
    """
    try:
        if Path(path).stat().st_size > _MAX_BYTES:
            _bad(f"{path} is larger than {_MAX_BYTES // 10**6} MB.")
        document = json.loads(Path(path).read_bytes())
    except FileNotFoundError:
        raise NotFoundError(f"There is no file {path}.", hint="Name LoCoMo's JSON file with --data.") from None
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}.", hint="Name a file that you may read.") from None
    except (ValueError, RecursionError) as error:
        _bad(f"{path} is not JSON: {str(error)[:200]}.")
    samples = _expect(document, list, "the file")
    if not samples:
        _bad("the file holds no conversation.")
    return [_conversation(sample, f"conversation {number}") for number, sample in enumerate(samples, 1)]


def _conversation(sample: Any, where: str) -> Conversation:
    sample = _expect(sample, dict, where)
    name = str(sample.get("sample_id") or where)
    dialogue = _expect(sample.get("conversation"), dict, f"{where}: 'conversation'")
    numbers = sorted(
        int(found[1])
        for key, value in dialogue.items()
        if (found := _SESSION.fullmatch(key)) and isinstance(value, list)
    )
    turns: list[Turn] = []
    for number in numbers:
        place = f"{where}: session_{number}"
        at = _date(dialogue.get(f"session_{number}_date_time"), place)
        for position, turn in enumerate(dialogue[f"session_{number}"]):
            turns.append(_turn(turn, number, position, at, f"{place}, turn {position + 1}"))
    if not turns:
        _bad(f"{where} holds no turn; sessions are lists named session_1, session_2 and so on.")
    known = {turn.id for turn in turns}
    queries: list[Query] = []
    questions = _expect(sample.get("qa"), list, f"{where}: 'qa'")
    for index, question in enumerate(questions, 1):
        query = _query(question, known, f"{where}: question {index}")
        if query.evidence:
            queries.append(query)
    return Conversation(name, tuple(turns), tuple(queries), len(questions) - len(queries))


def _turn(turn: Any, session: int, position: int, at: datetime, where: str) -> Turn:
    turn = _expect(turn, dict, where)
    found = _TURN_ID.fullmatch(_expect(turn.get("dia_id"), str, f"{where}: 'dia_id'").strip())
    if found is None:
        _bad(f"{where}: 'dia_id' is not like D1:3.")
    speaker = _expect(turn.get("speaker"), str, f"{where}: 'speaker'")
    text = f"{speaker}: {_expect(turn.get('text'), str, f'{where}: text')}"
    caption = turn.get("blip_caption")
    if isinstance(caption, str) and caption:
        text += f" [{caption}]"
    return Turn((int(found[1]), int(found[2])), text, session, position, at)


def _query(question: Any, known: set[TurnId], where: str) -> Query:
    question = _expect(question, dict, where)
    text = _expect(question.get("question"), str, f"{where}: 'question'")
    evidence = question.get("evidence") or []
    parts = [_expect(part, str, f"{where}: 'evidence'") for part in _expect(evidence, list, f"{where}: 'evidence'")]
    named = {(int(a), int(b)) for part in parts for a, b in _TURN_ID.findall(part)}
    category = question.get("category")
    return Query(text, frozenset(named & known), category if isinstance(category, int) else 0)


def _date(value: Any, where: str) -> datetime:
    """A time such as ``1:56 pm on 8 May, 2023``, without depending on the machine's language."""
    found = _DATE.fullmatch(value.strip()) if isinstance(value, str) else None
    try:
        assert found is not None
        hour = int(found[1]) % 12 + (12 if found[3].lower() == "pm" else 0)
        month = _MONTHS.index(found[5].lower()) + 1
        return datetime(int(found[6]), month, int(found[4]), hour, int(found[2]), tzinfo=UTC)
    except (AssertionError, ValueError):
        _bad(f"{where}: its date_time is not like '1:56 pm on 8 May, 2023'.")


def _expect(value: Any, kind: type, where: str) -> Any:
    if not isinstance(value, kind):
        names: Mapping[type, str] = {list: "a list", dict: "an object", str: "text"}
        _bad(f"{where} is not {names[kind]}.")
    return value


def _bad(message: str) -> NoReturn:
    raise InvalidInputError(
        message[:1].upper() + message[1:],
        hint="It has to be LoCoMo's file: conversations with sessions, turns and questions.",
    )
