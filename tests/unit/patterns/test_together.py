from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lamina import NotFoundError, Patterns, Store
from lamina.patterns import related as related_module


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 8)), max_size=50), st.sampled_from((0.0, 0.5, 0.7, 1.0)))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("many", [0, 300], ids=["candidates", "sessions"])
def test_related_is_the_cosine_over_sessions(
    p: Patterns, monkeypatch: pytest.MonkeyPatch, many: int, events: list[tuple[int, int]], least: float
) -> None:
    """Correlations and counts equal those of going through all sessions, by either way of counting."""
    monkeypatch.setattr(related_module, "_MANY", many)
    for pattern in p.query().all():
        p.delete(pattern.id)
    p.record_many({"steps": [f"p{n}"], "type": "T", "success": True, "session": f"s{s}"} for n, s in events)
    sessions: dict[str, set[int]] = {}
    for number, session in events:
        sessions.setdefault(f"p{number}", set()).add(session)
    for pattern in p.query().all():
        own = sessions[pattern.steps[0]]
        wanted = {
            name: (len(own & other), len(own & other) / math.sqrt(len(own) * len(other)))
            for name, other in sessions.items()
            if name != pattern.steps[0] and own & other
        }
        found = {entry.pattern.steps[0]: entry for entry in p.related(pattern.id, min_correlation=least)}
        assert set(found) == {name for name, (_, value) in wanted.items() if value >= least - 1e-12}
        for name, entry in found.items():
            assert entry.together == wanted[name][0]
            assert entry.correlation == pytest.approx(wanted[name][1])


def test_related_sorts_as_asked(p: Patterns) -> None:
    """By frequency the one with most sessions in common is first, by correlation the closest."""
    for session in range(4):
        for name in ("a", "often", *(["close"] if session < 2 else [])):
            p.record([name], type="T", success=True, session=f"s{session}")
    for session in range(4, 8):
        p.record(["often"], type="T", success=True, session=f"s{session}")
    a = next(pattern.id for pattern in p.query().all() if pattern.steps == ("a",))

    assert [x.pattern.steps[0] for x in p.related(a, min_correlation=0.5)] == ["often", "close"]
    assert p.related(a, sort_by="correlation", min_correlation=0.0)[0].pattern.steps[0] in ("often", "close")
    with pytest.raises(NotFoundError):
        p.related("p" + "0" * 20)


def test_a_low_correlation_is_asked_of_a_much_used_pattern(p: Patterns) -> None:
    """With no least correlation, and with hundreds of sessions, everything used along with it is found."""
    p.record_many({"steps": ["a"], "type": "T", "success": True, "session": f"s{n}"} for n in range(310))
    p.record_many({"steps": ["b"], "type": "T", "success": True, "session": f"s{n}"} for n in range(3))
    a = next(pattern.id for pattern in p.query().all() if pattern.steps == ("a",))

    for least in (0, 1e-9, 0.01):
        assert [entry.together for entry in p.related(a, min_correlation=least)] == [3]


file_uses = st.lists(
    st.tuples(st.integers(0, 4), st.lists(st.sampled_from("abcde"), unique=True, max_size=4), st.booleans()),
    max_size=40,
)


@given(file_uses)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_files_go_together_in_the_same_uses(p: Patterns, events: list[tuple[int, list[str], bool]]) -> None:
    """Uses, successes, patterns and correlation of two files equal those of going through all uses."""
    for pattern in p.query().all():
        p.delete(pattern.id)
    p.record_many(
        {"steps": [f"p{n}"], "type": "T", "success": ok, "files": files, "tools": ["a"]} for n, files, ok in events
    )
    edges = {}
    for one in "abcde":
        own = [event for event in events if one in event[1]]
        for link in p.files_with(one):
            both = [event for event in own if link.path in event[1]]
            other = [event for event in events if link.path in event[1]]
            assert link.together == len(both) > 0
            assert link.patterns == len({event[0] for event in both})
            assert link.success_rate == pytest.approx(sum(event[2] for event in both) / len(both))
            assert link.correlation == pytest.approx(len(both) / math.sqrt(len(own) * len(other)))
            edges[min(one, link.path), max(one, link.path)] = len(both)
        limited = p.files_with(one, limit=2)
        assert limited == p.files_with(one)[:2]
    assert {(one, other): uses for one, other, uses, _ in p.file_graph()} == edges
    assert {(one, other) for one, other, _, _ in p.file_graph(min_uses=2)} == {key for key in edges if edges[key] >= 2}


def test_files_used_apart_do_not_go_together(p: Patterns) -> None:
    """Two files of one pattern that no use had both of are no pair."""
    for _ in range(3):
        p.record(["a"], type="T", success=True, files=["x.py", "y.py"])
    for _ in range(10):
        p.record(["a"], type="T", success=True, files=["x.py"])
        p.record(["a"], type="T", success=False, files=["z.py"])
    (only,) = p.files_with("x.py")

    assert (only.path, only.together, only.success_rate) == ("y.py", 3, 1.0)
    assert p.files_with("nowhere.py") == []
    assert p.file_graph() == [("x.py", "y.py", 3, 1.0)]


def test_what_fails_is_suggested_last(p: Patterns) -> None:
    """A step that fails more often than not comes after the others, however often it followed."""
    for _ in range(9):
        p.record(["open", "delete"], type="T", success=False)
    p.record(["open", "edit"], type="T", success=True)
    first, second = p.suggest(["open"])

    assert (first.step, first.success_rate) == ("edit", 1.0)
    assert (second.step, second.probability, second.success_rate) == ("delete", 0.9, 0.0)
    assert second.high < 0.5


def test_suggestions_have_probability_and_support(p: Patterns) -> None:
    """What followed most often comes first; the longest end that anything goes on from decides."""
    for _ in range(3):
        p.record(["open", "edit", "test"], type="T", success=True)
    p.record(["open", "edit", "commit"], type="T", success=False)
    p.record(["edit", "lint"], type="T", success=True)
    found = p.suggest(["read", "open", "edit"])

    assert [(entry.step, entry.support, entry.probability) for entry in found] == [
        ("test", 3, 0.75),
        ("commit", 1, 0.25),
    ]
    assert found[0].after == ("open", "edit")
    assert {entry.step for entry in p.suggest(["edit"])} == {"test", "commit", "lint"}
    assert p.suggest(["nothing like it"]) == []


def test_recall_carries_patterns(store: Store) -> None:
    """With include, recall brings the patterns that fit the question; without, none; a chance word brings none."""
    store.memories.add("The deploy script lives in tools/deploy.sh.")
    store.patterns.record(["run the deploy script", "check the logs"], type="T", success=True)
    store.patterns.record(["water the plants"], type="T", success=True)
    both = store.memories.recall("how do I deploy the script?", include=("memories", "patterns"))
    alone = store.memories.recall("how do I deploy the script?", include=["patterns"])
    plain = store.memories.recall("how do I deploy the script?")

    assert [pattern.steps[0] for pattern in both.patterns] == ["run the deploy script"]
    assert len(both) == 1
    assert (list(alone), [pattern.id for pattern in alone.patterns]) == ([], [both.patterns[0].id])
    assert plain.patterns == ()


def test_a_narrowed_recall_says_why_it_has_no_patterns(store: Store) -> None:
    """A handle for some scopes sees no patterns, and recall says so."""
    import lamina

    store.patterns.record(["deploy it"], type="T", success=True)
    store.memories.add("deploy it", scope="private")
    with lamina.open(store.location, scopes=["private"], embedder="none") as narrow:
        hits = narrow.memories.recall("deploy", include=("memories", "patterns"))

    assert hits.patterns == ()
    assert "some scopes" in hits.notices[-1]
