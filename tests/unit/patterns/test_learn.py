from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lamina
from lamina import InvalidInputError, NotFoundError, Patterns, Store
from lamina.patterns import evidence
from lamina.patterns.mining import frequent_pairs, frequent_sequences, occurrences
from lamina.patterns.traces import Trace, pack_trace, unpack_trace

START = datetime(2026, 5, 1, tzinfo=UTC)
SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"


def session(store: Store, id: str, tools: Sequence[str], outcome: str | None = "success", **more: object) -> None:
    """Record a session of calls; a tool that begins with ! fails."""
    run = store.sessions.start(id, at=START)
    for number, tool in enumerate(tools):
        name = tool.removeprefix("!")
        bad = tool.startswith("!")
        run.call(
            name,
            arguments={"file_path": f"{name}.py"} if name in ("Edit", "Read") else None,
            error="ValueError: bad value 42" if bad else None,
            at=START + timedelta(minutes=number),
        )
    if outcome:
        run.end(outcome=outcome, at=START + timedelta(hours=1))  # type: ignore[arg-type]


def steps(p: Patterns, *names: str, type: str | None = None) -> tuple[int, int] | None:
    """Return uses and successes of the pattern with these steps, or None."""
    query = p.query() if type is None else p.query().of_type(type)
    found = [pattern for pattern in query.all() if pattern.steps == names]
    return (found[0].uses, found[0].successes) if found else None


@given(
    st.lists(st.lists(st.integers(0, 3), max_size=9), max_size=8),
    st.integers(1, 3),
    st.integers(0, 2),
)
def test_sequences_equal_those_of_brute_force(sequences: list[list[int]], support: int, gap: int) -> None:
    """What is frequent, and in which sessions, is what trying every choice of places finds."""
    squeezed = [[x for n, x in enumerate(s) if n == 0 or s[n - 1] != x] for s in sequences]
    wanted: dict[tuple[int, ...], set[int]] = {}
    tight: dict[tuple[int, ...], set[int]] = {}

    def grow(place: int, sequence: list[int], chosen: list[int]) -> None:
        items = tuple(sequence[index] for index in chosen)
        if len(items) > 1:
            wanted.setdefault(items, set()).add(place)
            if chosen[-1] - chosen[0] == len(chosen) - 1:
                tight.setdefault(items, set()).add(place)
        if len(items) < 4:
            for after in range(chosen[-1] + 1, min(len(sequence), chosen[-1] + gap + 2)):
                if sequence[after] != sequence[chosen[-1]]:
                    grow(place, sequence, [*chosen, after])

    for place, sequence in enumerate(squeezed):
        for start in range(len(sequence)):
            grow(place, sequence, [start])
    expected = {
        items: places
        for items, places in wanted.items()
        if len(places) >= support and 2 * len(tight.get(items, ())) >= len(places)
    }
    found = frequent_sequences(
        sequences, [[1] * len(s) for s in sequences], [None] * len(sequences), min_support=support, max_gap=gap
    )

    assert {entry.items: set(entry.sessions) for entry in found} == expected
    assert all(all(entry.worked) for entry in found)


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1)), max_size=9), max_size=8),
    st.lists(st.sampled_from([True, False, None]), min_size=8, max_size=8),
    st.integers(0, 2),
    st.sets(st.lists(st.integers(0, 4), min_size=2, max_size=4).map(tuple), max_size=5),
)
def test_what_is_looked_for_is_found_where_it_is_however_rare(
    calls: list[list[tuple[int, int]]], results: list[bool | None], gap: int, wanted: set[tuple[int, ...]]
) -> None:
    """Sequences that are named are found in the sessions, and with the outcomes, that mining finds for them."""
    sequences, outcomes = [[x for x, _ in s] for s in calls], [[x for _, x in s] for s in calls]
    found = occurrences(sequences, outcomes, results[: len(calls)], wanted, max_gap=gap)
    mined = frequent_sequences(sequences, outcomes, results[: len(calls)], min_support=1, max_gap=gap)
    there = {entry.items: (list(entry.sessions), list(entry.worked)) for entry in found}

    assert {entry.items for entry in mined} & wanted <= there.keys() <= wanted
    for entry in mined:
        if entry.items in wanted:
            assert there[entry.items] == (list(entry.sessions), list(entry.worked))


def test_a_sequence_worked_as_its_session_did() -> None:
    """The outcome of the session decides; where nobody said, the last step does."""
    found = frequent_sequences([[1, 2], [1, 2], [1, 2]], [[1, 1], [1, 1], [1, 0]], [True, False, None], min_support=3)
    assert [list(entry.worked) for entry in found] == [[True, False, False]]


@given(st.lists(st.sets(st.integers(0, 6)), max_size=10), st.integers(1, 4))
def test_pairs_equal_those_of_brute_force(sets: list[set[int]], support: int) -> None:
    """Pairs and the sessions they are in are what comparing every two finds."""
    found, left_out = frequent_pairs(
        [sorted(items) for items in sets], [None] * len(sets), min_support=support, most=40
    )
    wanted = {
        (a, b): {place for place, items in enumerate(sets) if a in items and b in items}
        for a in range(7)
        for b in range(a + 1, 7)
    }
    assert {entry.items: set(entry.sessions) for entry in found} == {
        k: v for k, v in wanted.items() if len(v) >= support
    }
    assert left_out == 0


@given(
    st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2)), max_size=9),
    st.lists(st.integers(0, 2**32 - 1), max_size=5),
    st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), max_size=4),
)
def test_traces_come_back(calls: list[tuple[int, int, int]], edited: list[int], fixes: list[tuple[int, int]]) -> None:
    """A packed trace is read back the same, and bytes that are none are refused."""
    columns = list(zip(*calls, strict=True)) or [(), (), ()]
    data = pack_trace(Trace(list(columns[0]), list(columns[1]), list(columns[2]), edited, fixes))
    trace = unpack_trace(data)

    assert trace is not None
    assert (list(trace.steps), list(trace.tools), list(trace.outcomes)) == tuple(map(list, columns))
    assert (list(trace.edited), list(trace.fixes)) == (edited, fixes)
    assert unpack_trace(data + b"x") is None
    assert unpack_trace(b"") is None


def test_learning_finds_steps_tools_files_and_fixes(p: Patterns, store: Store) -> None:
    """Frequent sequences, files edited together and errors with their fixes become patterns with their evidence."""
    for number in range(4):
        session(
            store,
            f"s{number}",
            ["Grep", "Read", "Edit", "!Verify", "Edit", "Verify"],
            "success" if number else "failure",
        )
    for number in range(4):
        run = store.sessions.start(f"f{number}")
        run.call("Edit", files=["a.py"])
        run.call("Write", files=["b.py"])
    report = p.learn(min_support=3)

    assert (report.sessions, report.new_sessions) == (8, 8)
    assert steps(p, "search", "open", "edit") == (4, 3)
    assert steps(p, "Grep", "Read", "Edit", type="EffectiveToolSequence") == (4, 3)
    assert steps(p, "edit a.py", "edit b.py") == (4, 4)
    assert steps(p, "error: ValueError: bad value <n>", "edit", type="DebuggingStrategy") == (4, 4)
    evidence = p.explain(p.query().of_type("SuccessfulFileCombo").all()[0].id)
    assert {entry.session for entry in evidence.evidence} == {"f0", "f1", "f2", "f3"}
    assert evidence.learned == evidence.sessions == 4
    assert store.verify("full").ok


def test_learning_again_adds_only_what_is_new(p: Patterns, store: Store) -> None:
    """A second run adds nothing, new sessions add their uses, and a session that grew is counted once."""
    for number in range(3):
        session(store, f"s{number}", ["Read", "Edit"])
    p.learn()
    again = p.learn()
    session(store, "s3", ["Read", "Edit"])
    store.sessions.call("s0", "Bash", arguments={"command": "pytest"})
    more = p.learn()

    assert (again.new_sessions, again.uses, again.patterns) == (0, 0, ())
    assert (more.new_sessions, more.patterns) == (2, ())
    assert steps(p, "open", "edit") == (4, 4)
    assert store.verify("full").ok


def test_a_session_that_grows_gives_its_evidence_again(p: Patterns, store: Store) -> None:
    """An unrelated call takes nothing away, though the pattern is in fewer sessions than is asked for by now."""
    session(store, "s0", ["Read", "Edit"])
    session(store, "s1", ["Read", "Edit"])
    p.learn(min_support=2)
    store.sessions.call("s0", "Bash", arguments={"command": "pytest"})
    p.learn(min_support=3)

    assert steps(p, "open", "edit") == (2, 2)


def test_what_was_found_gets_its_evidence_however_rare_it_has_become(p: Patterns, store: Store) -> None:
    """Three of ten sessions had it; after 300 others the fourth is counted, though four are too few to be found."""
    for number in range(3):
        session(store, f"s{number}", ["Rare", "Odd"])
    p.learn()
    for number in range(3, 400):
        session(store, f"s{number}", ["Read"], None)
    session(store, "s400", ["Rare", "Odd"])
    report = p.learn()

    assert report.min_support == 5
    assert steps(p, "Rare", "Odd", type="EffectiveToolSequence") == (4, 4)


Run = tuple[list[tuple[str, bool]], str | None]
RUNS = st.lists(
    st.tuples(
        st.lists(st.tuples(st.sampled_from(["Read", "Edit", "Grep"]), st.booleans()), min_size=1, max_size=7),
        st.sampled_from(["success", "failure", None]),
    ),
    min_size=3,
    max_size=10,
)


def known(p: Patterns) -> dict[str, tuple[object, ...]]:
    """Every figure of what was learned, but for times."""
    return {x.id: (x.steps, x.uses, x.successes, x.sessions, x.files, x.tools) for x in p.query().all()}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(RUNS, st.data())
def test_learning_bit_by_bit_is_learning_at_once(
    tmp_path_factory: pytest.TempPathFactory, runs: list[Run], data: st.DataObject
) -> None:
    """However sessions come, grow, end, are archived or looked at, both ways count the same of what both know."""

    def call(store: Store, number: int, first: int, last: int) -> None:
        for place in range(first, last):
            tool, well = runs[number][0][place]
            file = {"file_path": f"f{place % 3}.py"} if tool in ("Read", "Edit") else None
            error = None if well else "ValueError: bad"
            at = START + timedelta(minutes=place)
            store.sessions.call(f"s{number}", tool, arguments=file, error=error, at=at)

    folder = tmp_path_factory.mktemp("learn")
    with (
        lamina.open(folder / "once", embedder="none", durability="relaxed") as once,
        lamina.open(folder / "bits", embedder="none", durability="relaxed") as bits,
    ):
        for number, (calls, outcome) in enumerate(runs):
            once.sessions.start(f"s{number}", at=START)
            call(once, number, 0, len(calls))
            if outcome is not None:
                once.sessions.end(f"s{number}", outcome=outcome, at=START + timedelta(hours=1))  # type: ignore[arg-type]
            bits.sessions.start(f"s{number}", at=START)
        once.patterns.learn(min_support=2)
        there = [0] * len(runs)
        for _ in range(data.draw(st.integers(1, 4), label="steps")):
            for number in data.draw(st.lists(st.integers(0, len(runs) - 1), max_size=6), label="sessions"):
                last = data.draw(st.integers(there[number], len(runs[number][0])))
                call(bits, number, there[number], last)
                there[number] = last
                if runs[number][1] is not None and data.draw(st.booleans()):
                    said = data.draw(st.sampled_from(["success", "failure"]))
                    bits.sessions.end(f"s{number}", outcome=said, at=START)  # type: ignore[arg-type]
                if data.draw(st.integers(0, 3)) == 0:
                    bits.sessions.archive([f"s{number}"])
            some = data.draw(st.none() | st.lists(st.sampled_from([f"s{n}" for n in range(len(runs))])))
            bits.patterns.learn(some, min_support=data.draw(st.integers(1, 4), label="support"))
        for number, (calls, outcome) in enumerate(runs):
            call(bits, number, there[number], len(calls))
            if outcome is not None:
                bits.sessions.end(f"s{number}", outcome=outcome, at=START + timedelta(hours=1))  # type: ignore[arg-type]
        bits.patterns.learn(min_support=2)
        assert bits.patterns.learn(min_support=2).uses == 0
        other = known(bits.patterns)
        assert known(once.patterns).keys() <= other.keys()
        once.patterns.learn(min_support=1, min_success_rate=0, limit=10_000)  # whatever the other one still holds
        one = known(once.patterns)
        assert {id: facts for id, facts in other.items() if id in one} == {
            id: facts for id, facts in one.items() if id in other
        }
        assert bits.verify("full").ok


def test_a_kill_while_writing_is_made_up_for(p: Patterns, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new pattern whose evidence in older sessions was not all written gets the rest of it the next time."""
    for number in range(2):
        session(store, f"s{number}", ["Read", "Edit"])
    p.learn()
    session(store, "s2", ["Read", "Edit"])
    monkeypatch.setattr(evidence, "_USES_AT_ONCE", 1)

    def stop(done: int, _: int) -> None:
        written.append(done)
        if len(written) == 3:  # after the trace and two of three parts
            raise KeyboardInterrupt

    written: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        p.learn(progress=stop)
    assert steps(p, "open", "edit") == (2, 2)
    p.learn()

    assert steps(p, "open", "edit") == (3, 3)
    assert store.verify("full").ok


def test_what_another_process_changes_meanwhile_is_learned_the_next_time(
    p: Patterns, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that grows once it was read, or ends before it is written, is not taken for learned."""
    for number in range(4):
        session(store, f"s{number}", ["Read", "Edit"] if number else ["Read"], None)
    monkeypatch.setattr(evidence, "_USES_AT_ONCE", 1)
    done: list[int] = []

    def meanwhile(number: int, _: int) -> None:
        done.append(number)
        if len(done) == 1:  # all are read
            store.sessions.call("s0", "Edit", ok=True)
        if len(done) == 2:  # the first is written
            store.sessions.end("s3", outcome="failure", at=START)

    p.learn(progress=meanwhile)
    p.learn()

    assert steps(p, "open", "edit") == (4, 3)
    assert p.learn().new_sessions == 0


def test_what_was_deleted_stays_away_until_it_is_recorded(p: Patterns, store: Store) -> None:
    """Learning does not find a deleted pattern again, in no session; recorded by hand it begins anew."""
    for number in range(3):
        session(store, f"s{number}", ["Read", "Edit"])
    p.learn()
    (gone,) = [x for x in p.query().of_type("StepSequence").all() if x.steps == ("open", "edit")]
    p.delete(gone.id)
    session(store, "s3", ["Read", "Edit"])
    p.learn()

    assert steps(p, "open", "edit") is None
    assert p.stats()["removed"] == 0
    assert store.verify("full").ok
    with pytest.raises(NotFoundError):
        p.get(gone.id)
    again = p.record(["open", "edit"], type="StepSequence", success=True, description="by hand")
    assert (again.id, again.uses, again.origin, again.description) == (gone.id, 1, "recorded", "by hand")
    assert [x.id for x in p.query().matching("open hand").all()] == [gone.id]
    assert store.verify("full").ok
    store.repair()
    assert p.get(gone.id).uses == 1


def test_what_was_pruned_stays_away_and_misses_nothing(p: Patterns, store: Store) -> None:
    """Evidence of a removed pattern is kept while it is away, so that undo brings it back whole."""
    for number in range(3):
        session(store, f"s{number}", ["Read", "Edit"])
    p.learn()
    plan = p.prune(unused_days=0, min_effectiveness=1)
    session(store, "s3", ["Read", "Edit"])
    p.learn()
    assert p.query().all() == []
    p.undo(plan.id)

    assert steps(p, "open", "edit") == (4, 4)
    assert store.verify("full").ok


@pytest.mark.parametrize("wrong", ["r1", 5, b"r1", [3]])
def test_sessions_to_learn_from_are_a_list_of_ids(p: Patterns, wrong: object) -> None:
    """A string is not read letter by letter, and what is no list is told."""
    with pytest.raises(InvalidInputError):
        p.learn(wrong)  # type: ignore[arg-type]


def test_a_session_to_learn_from_is_there(p: Patterns, store: Store) -> None:
    """One that is not there is told, with those that are."""
    session(store, "run-1", ["Read", "Edit"])
    with pytest.raises(NotFoundError, match="run-7") as caught:
        p.learn(["run-1", "run-7"])
    assert "run-1" in (caught.value.hint or "")


def test_an_outcome_that_comes_later_is_learned(p: Patterns, store: Store) -> None:
    """A session whose outcome is said after it was learned from counts with that outcome."""
    for number in range(3):
        session(store, f"s{number}", ["Read", "Edit"], None)
    p.learn()
    store.sessions.end("s0", outcome="failure")
    p.learn()

    assert steps(p, "open", "edit") == (3, 2)


def test_what_failed_is_not_learned_and_what_is_left_out_is_told(p: Patterns, store: Store) -> None:
    """Sequences of failures make no pattern, and those beyond the limit are counted."""
    for number in range(4):
        session(store, f"s{number}", ["Plan", "Guess"], "failure")
        session(store, f"t{number}", ["Grep", "Read", "Bash", "Edit", "Task"], "success")
    report = p.learn(limit=1)

    assert steps(p, "Plan", "Guess") is None
    assert report.found["tools"] == 1
    assert report.left_out["tools"] > 0


def test_learning_from_an_archived_session(p: Patterns, store: Store) -> None:
    """What is packed away is learned from like the rest."""
    for number in range(3):
        session(store, f"s{number}", ["Read", "Edit"])
        store.sessions.archive([f"s{number}"])
    p.learn()

    assert steps(p, "open", "edit") == (3, 3)


@pytest.mark.skipif(not (SHARED / "trajectories").is_dir(), reason="the real trajectories are not at ../shared/data")
def test_the_ten_trajectories_counted_by_hand(p: Patterns, store: Store) -> None:
    """The counts of well-known sequences in ten real runs are those that reading the runs gives.

    By hand: run 9 finds nothing and goes straight to open and edit, and runs main.py, which is no test; run 10 does not
    create a file; in runs 4 and 5 the cursor is set between opening and editing; runs 2 to 8 each have one edit that
    brings a syntax error and is made again. Run 10 has no exit status; all others were submitted.
    """
    store.sessions.import_file(SHARED / "trajectories")
    report = p.learn()

    assert report.sessions == 10
    assert steps(p, "edit", "run-tests") == (9, 9)
    assert steps(p, "search", "open", "edit") == (9, 9)
    assert steps(p, "search", "open") == (9, 9)
    assert steps(p, "find_file", "open", type="EffectiveToolSequence") == (9, 9)
    assert steps(p, "find_file", "open", "edit", type="EffectiveToolSequence") == (9, 9)
    assert steps(p, "open", "edit", type="StepSequence") == (10, 10)
    assert steps(p, "create", "edit", type="StepSequence") == (8, 8)
    assert steps(p, "edit reproduce.py", "edit src/marshmallow/fields.py") == (8, 8)
    assert steps(p, "error: E999 IndentationError: unexpected indent", "edit") == (7, 7)
    pattern = next(x for x in p.query().all() if x.steps == ("search", "open", "edit"))
    named = {entry.session[:6] for entry in p.explain(pattern.id).evidence}
    assert named == {f"swe-{number:02}" for number in (1, 2, 3, 4, 5, 6, 7, 8, 10)}


def test_own_lines_are_learned_from(p: Patterns, store: Store, tmp_path: Path) -> None:
    """Sessions in Lamina's own form give patterns like any other."""
    lines: list[dict[str, object]] = []
    for number in range(3):
        lines.append({"type": "session", "id": f"s{number}", "at": "2026-05-01T10:00:00Z"})
        lines += [{"type": "call", "tool": tool, "ok": True} for tool in ("Read", "Edit")]
        lines.append({"type": "end", "outcome": "success"})
    path = tmp_path / "own.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in lines))
    store.sessions.import_file(path)
    p.learn()

    assert steps(p, "open", "edit") == (3, 3)
