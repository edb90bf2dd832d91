"""Adding, asking, looking, changing, forgetting: as a person and as a program."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import lamina

Cli = Any

MEMORY_FIELDS = [
    "id", "text", "title", "description", "type", "scope", "tags", "importance", "source", "thread", "position",
    "created_at", "updated_at", "valid_until", "superseded_by", "path", "uses", "helped", "hurt", "metadata",
]  # fmt: skip


def test_add_prints_the_id_and_keeps_everything(cli: Cli, place: Path) -> None:
    """The first add makes the store; standard output is the id alone, the talk goes to standard error."""
    answer = cli(
        "add", "remember", "the", "milk", "--title", "Milk", "--description", "what to buy", "--type", "reference",
        "--tag", "shop,food", "--tag", "home", "--importance", "0.9", "--source", "fridge", "--thread", "list",
        "--position", "3", "--created-at", "2026-01-02T03:04:05Z", "--valid-until", "2030-01-01T00:00:00Z",
        "--metadata", "litres=2", "--metadata", '{"brand": "any"}', "--scope", "team",
    )  # fmt: skip

    assert re.fullmatch(r"\S{8,}\n", answer.out)
    assert str(place) in answer.err
    with lamina.open(place, read_only=True) as store:
        memory = store.memories.get(answer.out.strip())
    assert memory.text == "remember the milk"
    assert (memory.title, memory.description, memory.type, memory.scope) == ("Milk", "what to buy", "reference", "team")
    assert (memory.tags, memory.importance, memory.source) == (("shop", "food", "home"), 0.9, "fridge")
    assert (memory.thread, memory.position) == ("list", 3)
    assert memory.created_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert memory.valid_until == datetime(2030, 1, 1, tzinfo=UTC)
    assert memory.metadata == {"litres": 2, "brand": "any"}


def test_add_reads_standard_input_and_files(cli: Cli, tmp_path: Path) -> None:
    """A file or a pipe is one memory, line by line it is several."""
    (tmp_path / "note.md").write_bytes(b"\xef\xbb\xbf# A\r\n\r\nb\r\n")

    piped = cli("add", "-", "--json", stdin="one\n\ntwo\n").json["memory"]
    read = cli("add", "--file", "note.md", "--json").json["memory"]
    several = cli("add", "-", "--per", "line", "--tag", "x", "--json", stdin="alpha one\nbeta two\n").json

    assert (piped["text"], piped["source"]) == ("one\n\ntwo", None)
    assert (read["text"], read["source"]) == ("# A\n\nb", "note.md")
    assert (several["added"], several["skipped"]) == (2, 0)
    assert cli("list", "--tag", "x", "--json").json["total"] == 2


def test_add_tells_near_duplicates(cli: Cli) -> None:
    """What says nearly the same is added, and named."""
    first = cli("add", "The nightly backup of the billing database starts at two in the morning.").out.strip()

    second = cli("add", "The nightly backup of the billing database starts at two in the morning!")
    third = cli("add", "The nightly backup of the billing database starts at two in the morning.", "--json").json

    assert f"similar: {first}" in second.err
    assert set(third["memory"]["similar"]) == {first, second.out.strip()}


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("text", "--file", "x"),
        ("   ",),
        ("x", "--type", "note"),
        ("x", "--importance", "2"),
        ("x", "--created-at", "soon"),
        ("x", "--metadata", "novalue"),
        ("x", "--scope", "a b"),
        ("x", "--scope", "a", "--scope", "b"),
        ("x", "--title", "two\nlines"),
        ("-",),
        ("x", "--file", "-", "--per", "line"),
    ],
)
def test_add_refuses_what_it_cannot_keep(cli: Cli, args: tuple[str, ...]) -> None:
    """Exit code 2, one error with what to do, nothing on standard output, no memory."""
    answer = cli("add", *args, code=2, stdin="")
    error = cli("add", *args, "--json", code=2, stdin="").error

    assert answer.out == ""
    assert "Error: " in answer.err
    assert error["exit"] == 2
    assert error["message"]
    assert cli("list", "--json", code=3 if not Path("store/.lamina").exists() else 0)


def test_recall_answers_with_reasons(cli: Cli, filled: dict[str, str]) -> None:
    """The best first, with a why line, when it was, and its id."""
    answer = cli("recall", "who is responsible for billing?")

    first = answer.out.split("\n\n")[0]
    assert first.startswith("1.  Ana owns the billing service.")
    assert "why: " in first
    assert "just now (" in first
    assert "#billing #people" in first
    assert filled["billing"] in first
    assert "\x1b" not in answer.out


def test_recall_as_json_is_the_contract(cli: Cli, filled: dict[str, str]) -> None:
    """Every field of a hit is there, explanations only where they were asked for."""
    plain = cli("--json", "recall", "when do we deploy?", "--limit", "2").json
    explained = cli("recall", "--json", "when do we deploy?", "--explain", "--explain-missing", filled["style"]).json

    assert list(plain) == ["query", "hits", "notices", "left_out", "tokens"]
    assert plain["query"] == "when do we deploy?"
    assert len(plain["hits"]) <= 2
    assert list(plain["hits"][0]) == ["memory", "score", "why", "passage", "age"]
    assert list(plain["hits"][0]["memory"]) == MEMORY_FIELDS
    assert plain["hits"][0]["memory"]["id"] == filled["deploy"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", plain["hits"][0]["memory"]["created_at"])
    assert {"terms", "signals", "weights", "passage", "notes"} == set(explained["hits"][0]["explanation"])
    assert explained["missing"]["id"] == filled["style"]


def test_recall_filters(cli: Cli, filled: dict[str, str]) -> None:
    """Type, tag, metadata, time and scope narrow the answers."""

    def found(*args: str) -> set[str]:
        hits = cli("recall", "billing deploy tabs search index", "--json", *args).json["hits"]
        return {name for hit in hits for name, known in filled.items() if known == hit["memory"]["id"]}

    assert found() == {"deploy", "billing", "style", "outage"}
    assert found("--type", "project") == {"deploy", "billing"}
    assert found("--type", "project", "--type", "user") == {"deploy", "billing", "style"}
    assert found("--tag", "people") == {"billing"}
    assert found("--where", '{"minutes": {"gt": 5}}') == {"outage"}
    assert found("--where", "lang=make") == {"style"}
    assert found("--since", "1h") == {"deploy", "billing", "style", "outage"}
    assert found("--until", "1h") == set()
    assert found("--scope", "team") == set()


def test_nothing_found_is_no_failure(cli: Cli, filled: dict[str, str]) -> None:
    """Standard output stays empty and the exit code is 0."""
    answer = cli("recall", "anything", "--tag", "nowhere")

    assert answer.out == ""
    assert "Nothing found" in answer.err
    assert cli("recall", "anything", "--tag", "nowhere", "--json").json["hits"] == []


def test_global_options_work_on_both_sides(cli: Cli, tmp_path: Path) -> None:
    """--store, --scope and --json may stand before or after the command's name; the inner one wins."""
    other = str(tmp_path / "other")
    cli("--store", other, "--scope", "team", "add", "One.")
    cli("add", "Two.", "--store", other, "--scope", "user/ann")

    assert cli("--json", "list", "--store", other).json["total"] == 2
    assert cli("--store", other, "list", "--json", "--scope", "user/ann").json["memories"][0]["text"] == "Two."
    assert (
        cli("--store", "elsewhere", "--scope", "private", "list", "--json", "--store", other, "--scope", "team").json[
            "total"
        ]
        == 1
    )
    assert cli("list", "--store", other, "--scope", "team", "--scope", "user/ann", "--json").json["total"] == 2


def test_get_shows_all_or_the_text_alone(cli: Cli, filled: dict[str, str]) -> None:
    """For people the fields and the text, for pipes the text, for programs the document."""
    shown = cli("get", filled["billing"]).out

    assert "Ana owns the billing service." in shown
    assert re.search(r"^tags +#billing #people$", shown, re.MULTILINE)
    assert cli("get", filled["billing"], "--text").out == "Ana owns the billing service.\n"
    assert list(cli("get", filled["billing"], "--json").json["memory"]) == MEMORY_FIELDS


def test_list_pages_from_the_newest(cli: Cli, filled: dict[str, str]) -> None:
    """A page names the id behind which the next one begins; the last page names none."""
    first = cli("list", "--limit", "3", "--json").json
    second = cli("list", "--limit", "3", "--after", first["next"], "--json").json

    assert [memory["id"] for memory in first["memories"] + second["memories"]] == [*filled.values()][::-1]
    assert (first["total"], second["next"]) == (4, None)
    human = cli("list", "--limit", "3")
    assert len(human.out.splitlines()) == 3
    assert "3 of 4" in human.err


def test_update_changes_what_it_is_told(cli: Cli, filled: dict[str, str]) -> None:
    """Each field can be set, tags and metadata key by key, and optional ones taken away again."""
    ident = filled["billing"]
    cli("update", ident, "--text", "Bo owns billing.", "--title", "Owner", "--source", "wiki", "--importance", "0.7")
    cli(
        "update",
        ident,
        "--add-tag",
        "new",
        "--remove-tag",
        "people",
        "--metadata",
        "since=2026",
        "--valid-until",
        "2031-01-01",
    )
    cli("update", ident, "--source", "", "--type", "reference", "--move-to", "team", "--feedback", "helped")

    memory = cli("get", ident, "--json").json["memory"]

    assert (memory["text"], memory["title"], memory["source"]) == ("Bo owns billing.", "Owner", None)
    assert (memory["tags"], memory["metadata"], memory["importance"]) == (["billing", "new"], {"since": 2026}, 0.7)
    assert (memory["type"], memory["scope"], memory["helped"]) == ("reference", "team", 1)
    assert memory["valid_until"] is not None

    cli("update", ident, "--tag", "only", "--remove-metadata", "since", "--valid-always")
    memory = cli("get", ident, "--json").json["memory"]
    assert (memory["tags"], memory["metadata"], memory["valid_until"]) == (["only"], {}, None)
    piped = cli("update", ident, "--text", "-", "--json", stdin="From a pipe.\n").json
    assert (piped["memory"]["text"], piped["changed"]) == ("From a pipe.", ["text"])
    cli("update", ident, code=2)


def test_history_shows_what_changed(cli: Cli, filled: dict[str, str]) -> None:
    """The oldest change first, texts as a difference, fields as from and to; a deleted memory has one, too."""
    ident = filled["deploy"]
    cli("update", ident, "--text", "We deploy on Mondays,\nnever on Fridays.", "--title", "Deploys")
    cli("forget", ident, "--yes")

    shown = cli("history", ident).out
    changes = cli("history", ident, "--json").json["changes"]

    assert re.findall(r"^(add|update|delete) ", shown, re.MULTILINE) == ["add", "update", "delete"]
    assert "- We deploy on Tuesdays, never on Fridays." in shown
    assert "+ We deploy on Mondays," in shown
    assert "title: none -> Deploys" in shown
    assert [change["action"] for change in changes] == ["add", "update", "delete"]
    assert (changes[0]["before"], changes[2]["after"]) == (None, None)
    assert changes[1]["after"]["title"] == "Deploys"


def test_the_past_is_answered_as_it_was(cli: Cli, filled: dict[str, str]) -> None:
    """--as-of asks the texts of then; supersede takes the old one out of recall, and says so."""
    before = datetime.now(UTC).isoformat()
    new = cli("add", "We deploy on Thursdays now.", "--supersedes", filled["deploy"], "--json").json

    now = [hit["memory"]["id"] for hit in cli("recall", "when do we deploy", "--json").json["hits"]]
    then = [hit["memory"]["id"] for hit in cli("recall", "when do we deploy", "--as-of", before, "--json").json["hits"]]
    why = cli("recall", "when do we deploy", "--explain-missing", filled["deploy"]).out

    assert new["superseded"] == filled["deploy"]
    assert filled["deploy"] not in now
    assert then[0] == filled["deploy"]
    assert f"superseded by {new['memory']['id']}" in why
    assert "superseded" in cli("list").out
    back = cli("update", filled["deploy"], "--not-superseded", "--json").json
    assert (back["memory"]["superseded_by"], back["changed"]) == (None, ["superseded_by"])
    cli("add", "x", "--supersedes", "nosuchid", code=3)
    assert cli("list", "--json").json["total"] == 5


def test_unknown_ids_are_not_found(cli: Cli, filled: dict[str, str]) -> None:
    """Exit code 3, whatever is asked of it."""
    for args in (("get",), ("update", "--title", "x"), ("history",), ("forget", "--yes"), ("list", "--after")):
        assert cli(args[0], *args[1:], "nosuchid", "--json", code=3).error["code"] == "not-found"
