from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lamina import ConflictError, InvalidInputError, NotFoundError, ReadOnlyError, Sessions, Store
from lamina.sessions.values import Call, Turn

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_a_session_keeps_what_happened(s: Sessions) -> None:
    """Turns and calls come back in order, with files relative to the project, and the session counts them."""
    with s.start("run-1", agent="me", project="/code/app", title="fix it", at=AT) as run:
        run.turn("user", "please fix", at=AT)
        run.call("Edit", arguments={"file_path": "/code/app/src/a.py"}, duration=1.5, at=AT + timedelta(seconds=1))
        run.call("Bash", arguments={"command": "pytest -q"}, exit=1, error="1 failed", at=AT + timedelta(seconds=2))
        run.end(outcome="success", quality=0.9, at=AT + timedelta(minutes=1))
    session = s.get("run-1")
    turn, edit, test = s.events("run-1")

    assert (session.turns, session.calls, session.errors) == (1, 2, 1)
    assert (session.outcome, session.quality, session.ended_at) == ("success", 0.9, AT + timedelta(minutes=1))
    assert turn == Turn(position=0, at=AT, role="user", text="please fix")
    assert isinstance(edit, Call)
    assert isinstance(test, Call)
    assert (edit.step, edit.files, edit.ok, edit.duration) == ("edit", ("src/a.py",), True, 1.5)
    assert (test.step, test.ok, test.exit, test.error) == ("run-tests", False, 1, "1 failed")


def test_a_block_that_raises_ends_as_a_failure(s: Sessions) -> None:
    """An exception in a with block is the session's outcome, and goes on."""
    with pytest.raises(RuntimeError), s.start("run-1"):
        raise RuntimeError

    assert s.get("run-1").outcome == "failure"


def test_secrets_are_masked_on_the_way_in(s: Sessions) -> None:
    """Neither turns nor arguments nor results keep a secret, wherever it stands."""
    key = "sk-" + "a1B2c3D4e5F6g7H8i9J0"
    run = s.start("run-1", title=f"use {key}")
    run.turn("user", f"my key is {key}, mind it")
    run.call(
        "Bash", arguments={"command": f"curl -H 'x: {key}'", "env": {"password": "hunter22x"}}, result=f"got {key}"
    )
    turn, call = s.events("run-1")

    assert isinstance(turn, Turn)
    assert isinstance(call, Call)
    assert turn.text == "my key is [masked: api key], mind it"
    assert key not in f"{s.get('run-1')} {call}"
    assert "hunter22x" not in str(call)


def test_equal_arguments_have_equal_digests(s: Sessions) -> None:
    """A digest tells arguments apart whatever the order of their keys."""
    run = s.start("run-1")
    run.call("T", arguments={"a": 1, "b": 2})
    run.call("T", arguments={"b": 2, "a": 1})
    run.call("T", arguments={"a": 1, "b": 3})
    one, same, other = (event.digest for event in s.events("run-1") if isinstance(event, Call))

    assert one == same != other


def test_clocks_may_jump(s: Sessions) -> None:
    """A time before the session's begin moves the begin; order stays that of arrival."""
    run = s.start("run-1", at=AT)
    run.turn("user", "first", at=AT + timedelta(hours=1))
    run.turn("user", "second", at=AT - timedelta(hours=1))

    assert [event.text for event in s.events("run-1") if isinstance(event, Turn)] == ["first", "second"]
    assert (s.get("run-1").started_at, s.get("run-1").last_at) == (AT - timedelta(hours=1), AT + timedelta(hours=1))


def test_what_is_not_there_is_told(s: Sessions) -> None:
    """Unknown sessions and values that make no sense are refused with an error of ours."""
    with pytest.raises(NotFoundError):
        s.get("nobody")
    with pytest.raises(NotFoundError):
        s.turn("nobody", "user", "hello")
    with pytest.raises(InvalidInputError):
        s.start("two words")
    s.start("run-1")
    for bad in ({"quality": 2.0}, {"outcome": "fine"}, {"at": "now"}):
        with pytest.raises(InvalidInputError):
            s.end("run-1", **bad)


def test_lists_page_and_filter(s: Sessions) -> None:
    """The latest come first, pages join without gap, filters narrow, and the count agrees."""
    for number in range(7):
        run = s.start(f"run-{number}", project="/a" if number % 2 else "/b", at=AT + timedelta(hours=number))
        run.end(outcome="success" if number < 3 else "failure", at=AT + timedelta(hours=number))
    first = s.list(limit=3)
    second = s.list(limit=3, after=first[-1].id)

    assert [session.id for session in (*first, *second)] == [f"run-{number}" for number in (6, 5, 4, 3, 2, 1)]
    assert [session.id for session in s.list(project="/a")] == ["run-5", "run-3", "run-1"]
    assert s.count(outcome="success") == len(s.list(outcome="success")) == 3
    assert [session.id for session in s.list(since=AT + timedelta(hours=5))] == ["run-6", "run-5"]


def test_archived_sessions_stay_readable_and_grow(s: Sessions) -> None:
    """Packing keeps every event; one added later comes behind; archiving again packs that one, too."""
    run = s.start("run-1", at=AT)
    for number in range(300):
        run.call("Edit", arguments={"file_path": f"f{number}.py"}, result="done " * 50, at=AT)
    before = list(s.events("run-1"))
    report = s.archive(["run-1"])
    packed = list(s.events("run-1"))
    run.turn("user", "more", at=AT)
    grown = list(s.events("run-1"))
    s.archive(["run-1"])

    assert packed == before
    assert report.bytes_after < report.bytes_before / 3
    assert grown[:-1] == before
    assert list(s.events("run-1")) == grown
    assert s.get("run-1").archived


def test_retention_keeps_the_newest(s: Sessions) -> None:
    """Retention deletes all but the newest, says which, and a dry run deletes none."""
    for number in range(4):
        s.start(f"run-{number}", at=AT).turn("user", "hello", at=AT + timedelta(days=number))
    planned = s.retain(keep_last=2, dry_run=True)
    assert s.count() == 4
    done = s.retain(keep_last=2)

    assert planned.sessions == done.sessions == ("run-1", "run-0")
    assert [session.id for session in s.list()] == ["run-3", "run-2"]
    with pytest.raises(InvalidInputError):
        s.retain()


def test_a_narrowed_handle_sees_no_sessions(store: Store) -> None:
    """Sessions and patterns belong to the whole store; a handle for some scopes refuses them."""
    import lamina

    store.sessions.start("run-1")
    with lamina.open(store.location, scopes=["private"], embedder="none") as narrow:
        with pytest.raises(ReadOnlyError):
            _ = narrow.sessions
        with pytest.raises(ReadOnlyError):
            _ = narrow.patterns


def test_values_of_the_wrong_kind_are_named(s: Sessions) -> None:
    """Every value that makes no sense is an error of ours, and one that is nested without end is left out."""
    run = s.start("run-1")
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    run.call("T", arguments=deep)
    (call,) = s.events("run-1")
    loose: Any = s
    wrong: list[Callable[[], Any]] = [
        lambda: run.call("T", ok="yes"),
        lambda: loose.archive(older_than=5),
        lambda: loose.archive("run-1"),
        lambda: loose.retain(max_age=5),
        lambda: loose.import_file(5),
        lambda: s.import_file("a\0b"),
        lambda: run.turn("user", "x", at=2030),
    ]

    assert isinstance(call, Call)
    assert "[left out: nested too deeply]" in repr(call)
    for attempt in wrong:
        with pytest.raises(InvalidInputError):
            attempt()
    assert s.archive(older_than=timedelta.max).sessions == ()
    assert s.retain(max_age=timedelta.max).sessions == ()


def test_a_person_may_name_the_beginning_of_an_id(s: Sessions) -> None:
    """From four characters on, where it is the beginning of one session alone."""
    for name in ("edge_cases", "edge_other", "abc"):
        s.start(name)

    assert s.find("edge_c").id == "edge_cases"
    assert s.find("abc").id == "abc"
    with pytest.raises(ConflictError, match="edge_cases, edge_other"):
        s.find("edge")
    for unknown in ("edg", "edge%", "nobody"):
        with pytest.raises(NotFoundError):
            s.find(unknown)


@pytest.mark.parametrize("secret", ["sunshine", "two plain words", 12345678, ["Sommer2024", "autumn"]])
@pytest.mark.parametrize(
    "name", ["password", "DB_PASSWORD", "api_key", "client-secret", "Authorization", "access_token"]
)
def test_a_value_whose_name_says_that_it_is_a_secret_is_masked(s: Sessions, name: str, secret: object) -> None:
    """In arguments a telling name is enough, however plain its value looks; other names and empty values stay."""
    with s.start(agent="me") as run:
        run.call(
            "fetch", arguments={"request": {name: secret}, "tokens": 12, "file": "sunshine.py", "empty": {name: ""}}
        )
    (event,) = s.events(run.id)
    assert isinstance(event, Call)
    kept = event.arguments["request"][name]

    assert set(kept if isinstance(kept, list) else [kept]) == {"[masked: password]"}
    assert event.arguments["tokens"] == 12
    assert event.arguments["file"] == "sunshine.py"
    assert event.arguments["empty"] == {name: ""}
