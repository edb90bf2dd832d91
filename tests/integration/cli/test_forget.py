"""Deleting asks, shows, counts, and does nothing without a yes."""

from __future__ import annotations

from typing import Any

import pytest

Cli = Any


def test_without_a_terminal_it_needs_yes(cli: Cli, filled: dict[str, str]) -> None:
    """Nobody can be asked, so nothing is deleted: exit code 2."""
    answer = cli("forget", filled["style"], code=2)

    assert "--yes" in answer.err
    assert "Prefers tabs" in answer.err
    assert cli("list", "--json").json["total"] == 4


def test_a_dry_run_says_what_would_go(cli: Cli, filled: dict[str, str]) -> None:
    """It names and counts, and deletes nothing."""
    document = cli("forget", "--type", "project", "--dry-run", "--json").json

    assert (document["dry_run"], document["matched"], document["deleted"]) == (True, 2, [])
    assert set(document["ids"]) == {filled["deploy"], filled["billing"]}
    assert "Ana owns" in cli("forget", "--type", "project", "--dry-run").err
    assert cli("forget", "--type", "project", "--dry-run").err.endswith("would delete 2 memories\n")
    assert cli("forget", filled["style"], "--purge", "--dry-run").err.endswith("would purge 1 memory\n")
    assert cli("list", "--json").json["total"] == 4


def test_by_id_and_by_filter(cli: Cli, filled: dict[str, str]) -> None:
    """With --yes what is named goes, and nothing else."""
    one = cli("forget", filled["style"], "--yes", "--json").json
    many = cli("forget", "--where", '{"minutes": {"gte": 9}}', "--yes", "--json").json

    assert [item["id"] for item in one["deleted"]] == [filled["style"]]
    assert one["deleted"][0]["purged"] is False
    assert one["deleted"][0]["kept"]
    assert [item["id"] for item in many["deleted"]] == [filled["outage"]]
    assert {memory["id"] for memory in cli("list", "--json").json["memories"]} == {filled["deploy"], filled["billing"]}


def test_what_is_kept_is_said_in_the_shells_words(cli: Cli, filled: dict[str, str]) -> None:
    """The option is named, not the argument of the library."""
    shown = cli("forget", filled["style"], "--yes").out

    assert "--purge scrubs" in shown
    assert "purge=True" not in shown


def test_a_scope_can_be_emptied(cli: Cli, filled: dict[str, str]) -> None:
    """--scope alone is a filter."""
    cli("add", "Theirs.", "--scope", "team")

    cli("forget", "--scope", "team", "--yes")

    assert cli("list", "--json").json["total"] == 4
    assert cli("forget", "--scope", "team", "--yes", "--json").json["matched"] == 0


def test_purge_leaves_no_history(cli: Cli, filled: dict[str, str]) -> None:
    """With --purge there is no way back, also for what was deleted before."""
    cli("forget", filled["style"], "--yes")
    cli("history", filled["style"])

    purged = cli("forget", filled["style"], "--purge", "--yes", "--json").json["deleted"][0]

    assert purged["purged"] is True
    cli("history", filled["style"], code=3)


@pytest.mark.parametrize("args", [(), ("someid88", "--tag", "x")])
def test_ids_and_filters_exclude_each_other(cli: Cli, filled: dict[str, str], args: tuple[str, ...]) -> None:
    """Neither, or both, is a usage error: a forgotten id must not become everything."""
    cli("forget", *args, "--yes", code=2)

    assert cli("list", "--json").json["total"] == 4
