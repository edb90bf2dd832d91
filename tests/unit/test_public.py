from __future__ import annotations

import dataclasses
import inspect
import os
import pickle
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import lamina

HEAVY = ("numpy", "faiss", "tantivy", "tokenizers", "rich", "click", "textual", "mcp", "apsw")
PUBLIC = [(name, getattr(lamina, name)) for name in lamina.__all__ if not name.startswith("__")]
CLASSES = [value for _, value in PUBLIC if isinstance(value, type)]


def loaded_after(code: str) -> list[str]:
    """Run code in a fresh interpreter and return which heavy modules it loaded."""
    tail = f"import sys\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(Path(lamina.__file__).parents[1])}
    command = [sys.executable, "-c", f"{code}\n{tail}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, env=environment)
    assert "" == done.stderr
    return done.stdout.split()


def test_importing_loads_nothing_heavy() -> None:
    """``import lamina`` costs next to nothing."""
    assert [] == loaded_after("import lamina; lamina.__version__; lamina.LaminaError; lamina.Memory; dir(lamina)")


def test_getting_listing_and_counting_load_no_numpy(tmp_path: Path) -> None:
    """What needs no vectors loads no vectors."""
    with lamina.open(tmp_path, embedder="none") as store:
        id = store.memories.add("a text", tags=["x"]).id
    code = (
        f"import lamina\nwith lamina.open({str(tmp_path)!r}) as store:\n"
        f"    m = store.memories\n    assert m.get({id!r}) == m.list(tags=['x'])[0]\n"
        f"    assert m.count() == 1 == len(m.history({id!r}))"
    )
    assert ["apsw"] == loaded_after(code)


def test_all_is_sorted_complete_and_real() -> None:
    """``__all__`` names everything public once, in order, and ``dir`` shows the same."""
    assert sorted(lamina.__all__) == lamina.__all__ == dir(lamina)
    assert len(set(lamina.__all__)) == len(lamina.__all__)
    for name in lamina.__all__:
        assert getattr(lamina, name) is not None
    from lamina import errors, types

    assert set(errors.__all__) <= set(lamina.__all__)
    assert {name for name in types.__all__ if isinstance(getattr(types, name), type)} <= set(lamina.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A slip in a name is what Python says it is."""
    with pytest.raises(AttributeError, match="no attribute 'Memries'"):
        lamina.__getattr__("Memries")
    assert not hasattr(lamina, "_private")


@pytest.mark.parametrize(("name", "value"), PUBLIC, ids=[name for name, _ in PUBLIC])
def test_everything_public_is_documented(name: str, value: Any) -> None:
    """Each public class, function, method and property has a docstring, and shows its public path."""
    if isinstance(value, type) or inspect.isfunction(value):
        assert inspect.getdoc(value), name
        assert not (value.__doc__ or "").startswith(f"{name}("), "dataclass made it up"
    if isinstance(value, type):
        for attribute, member in vars(value).items():
            plain = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
            if not attribute.startswith("_") and inspect.isfunction(plain):
                assert plain.__doc__, f"{name}.{attribute}"


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_classes_show_their_public_path(cls: type) -> None:
    """Tracebacks and reprs say ``lamina.Name``."""
    assert "lamina" == cls.__module__


@pytest.mark.parametrize(
    "method", ["add", "recall", "list", "count", "delete", "explain_missing", "update", "add_many"]
)
def test_options_are_keyword_only(method: str) -> None:
    """At most what a call is about is positional."""
    parameters = list(inspect.signature(getattr(lamina.Memories, method)).parameters.values())[1:]
    positional = [p.name for p in parameters if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    assert len(positional) <= {"explain_missing": 2, "list": 0, "count": 0}.get(method, 1)


def test_the_names_of_the_contract_are_there() -> None:
    """The parameters that others build on have their names and defaults."""
    add = inspect.signature(lamina.Memories.add).parameters
    assert [
        "self", "text", "title", "description", "type", "scope", "tags", "importance", "source", "thread", "position",
        "created_at", "valid_until", "metadata", "vector",
    ] == list(add)  # fmt: skip
    recall = inspect.signature(lamina.Memories.recall).parameters
    assert [
        "self", "query", "vector", "limit", "scope", "type", "tags", "since", "until", "as_of", "where", "mode",
        "exact", "token_budget", "explain", "already_shown", "include",
    ] == list(recall)  # fmt: skip
    assert (None, 10, "hybrid") == (recall["query"].default, recall["limit"].default, recall["mode"].default)
    opened = inspect.signature(lamina.open).parameters
    assert ["location", "create", "read_only", "scopes", "profile", "embedder", "durability"] == list(opened)


def test_results_are_frozen_slotted_and_travel() -> None:
    """Results cannot be changed, carry no stray attribute, and come out of a pickle equal."""
    memory = lamina.Memory(id="x" * 8, text="t", created_at=datetime.now(UTC), updated_at=datetime.now(UTC))
    for cls in CLASSES:
        if dataclasses.is_dataclass(cls):
            assert cls.__dataclass_params__.frozen, cls  # type: ignore[attr-defined]
            assert "__slots__" in vars(cls), cls
    with pytest.raises(dataclasses.FrozenInstanceError):
        memory.text = "other"  # type: ignore[misc]
    hits = lamina.Hits(
        [lamina.Hit(memory=memory, score=1.0, why="w")], notices=("n",), left_out=(("a", "b"),), tokens=3
    )
    twin = pickle.loads(pickle.dumps(hits))
    assert (list(hits), ("n",), (("a", "b"),), 3) == (list(twin), twin.notices, twin.left_out, twin.tokens)
    assert hits.text() == twin.text()
