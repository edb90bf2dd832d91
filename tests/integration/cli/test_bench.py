"""The benchmarks measure what they say, on small sizes, and refuse files of another shape."""

from __future__ import annotations

import copy
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lamina.bench import BENCHMARKS
from lamina.bench._conversations import Query, Turn, load
from lamina.bench._texts import notes, questions
from lamina.bench.folder import counted_opens, make_directory
from lamina.bench.locomo import METRICS, evaluate
from lamina.errors import InvalidInputError

Cli = Any


def conversations() -> list[dict[str, Any]]:
    """A small file of LoCoMo's shape, written for this test."""
    first = [
        {"speaker": "Ira", "dia_id": "D1:1", "text": "I planted tomatoes on the balcony."},
        {"speaker": "Mo", "dia_id": "D1:2", "text": "My sister moved to Oslo."},
        {
            "speaker": "Ira",
            "dia_id": "D1:3",
            "text": "Look!",
            "blip_caption": "a photo of a red bicycle",
            "img_url": ["x"],
        },
    ]
    second = [
        {"speaker": "Mo", "dia_id": "D2:1", "text": "The tomatoes are ripe, you said?"},
        {"speaker": "Ira", "dia_id": "D2:2", "text": "Yes, and I sold the bicycle."},
    ]
    return [
        {
            "sample_id": "conv-a",
            "conversation": {
                "speaker_a": "Ira",
                "speaker_b": "Mo",
                "session_1_date_time": "1:56 pm on 8 May, 2023",
                "session_1": first,
                "session_2_date_time": "12:09 am on 13 September, 2023",
                "session_2": second,
                "session_3_date_time": "1:00 pm on 1 October, 2023",
            },
            "qa": [
                {"question": "Where did the sister of Mo move?", "answer": "Oslo", "evidence": ["D1:2"], "category": 4},
                {"question": "What happened to the red bicycle?", "evidence": ["D1:3; D2:2"], "category": 1},
                {"question": "What did nobody say?", "evidence": ["D9:9"], "category": 5, "answer": 3},
                {"question": "And this?", "evidence": [], "category": 2},
            ],
        }
    ]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The file on disk."""
    path = tmp_path / "conversations.json"
    path.write_text(json.dumps(conversations()), encoding="utf-8")
    return path


def test_conversations_are_read_as_they_are(data: Path) -> None:
    """Turns with speaker and caption, dates in UTC, evidence that exists; the rest is counted as skipped."""
    (conversation,) = load(str(data))

    assert [turn.id for turn in conversation.turns] == [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2)]
    assert conversation.turns[2].text == "Ira: Look! [a photo of a red bicycle]"
    assert [turn.position for turn in conversation.turns] == [0, 1, 2, 0, 1]
    assert conversation.turns[0].at == datetime(2023, 5, 8, 13, 56, tzinfo=UTC)
    assert conversation.turns[4].at == datetime(2023, 9, 13, 0, 9, tzinfo=UTC)
    assert [query.evidence for query in conversation.queries] == [{(1, 2)}, {(1, 3), (2, 2)}]
    assert conversation.skipped == 2


def test_the_measure_is_the_one_that_is_described() -> None:
    """Recall is the fraction of the evidence among the first k, MRR the first one's rank, sessions count once."""
    at = datetime(2023, 1, 1, tzinfo=UTC)
    turns = [Turn((session, place), "", session, place, at) for session in range(1, 13) for place in range(3)]
    by_id = {turn.id: turn for turn in turns}
    order = [
        by_id[1, 0],
        by_id[1, 1],
        by_id[2, 0],
        by_id[3, 0],
        by_id[4, 0],
        by_id[5, 0],
        *(by_id[n, 1] for n in range(6, 13)),
    ]

    scores = evaluate(order, Query("?", frozenset({(2, 0), (5, 0), (6, 2), (12, 1)}), 1), turns)

    assert set(scores) == set(METRICS)
    assert scores["mrr"] == pytest.approx(1 / 3)
    assert (scores["recall@5"], scores["recall@10"], scores["recall@20"]) == (0.25, 0.5, 0.75)
    assert (scores["session_recall@5"], scores["session_recall@10"]) == (0.5, 0.75)
    assert evaluate([], Query("?", frozenset({(1, 1)}), 1), turns) == dict.fromkeys(METRICS, 0.0)


def test_locomo_measures_each_configuration(cli: Cli, data: Path, place: Path) -> None:
    """BM25 alone, vectors alone and the default, in order; the user's store is not touched."""
    document = cli("bench", "locomo", "--data", str(data), "--json").json

    names = [entry["name"] for entry in document["configurations"]]
    assert names[0] == "BM25 alone"
    assert names[-1] == "default"
    assert (document["turns"], document["questions"], document["questions_skipped"]) == (5, 2, 2)
    for entry in document["configurations"]:
        assert entry["recall@20"] == pytest.approx(1.0)
        assert entry["by_category"]["4"]["questions"] == 1
        assert entry["by_conversation"]["conv-a"]["mrr"] == pytest.approx(entry["mrr"])
    assert not place.exists()
    assert "BM25 alone" in cli("bench", "locomo", "--data", str(data)).out


def test_locomo_measures_embedders_that_are_named(cli: Cli, data: Path) -> None:
    """--embedder adds two configurations; an unknown one is refused."""
    document = cli("bench", "locomo", "--data", str(data), "--embedder", "none", "--json", code=0).json

    assert "hybrid, none" in [entry["name"] for entry in document["configurations"]]
    assert cli("bench", "locomo", "--data", str(data), "--embedder", "magic", "--json", code=2).error["hint"]


def broken(change: Any) -> str:
    """The file after ``change``."""
    document = copy.deepcopy(conversations())
    change(document[0])
    return json.dumps(document)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("{}", "The file is not a list"),
        ("[]", "holds no conversation"),
        ("[3]", "Conversation 1 is not an object"),
        (broken(lambda one: one.pop("conversation")), "Conversation 1: 'conversation' is not an object"),
        (broken(lambda one: one.update(qa={})), "Conversation 1: 'qa' is not a list"),
        (broken(lambda one: one["conversation"].update(session_1=[7])), "session_1, turn 1 is not an object"),
        (
            broken(lambda one: one["conversation"]["session_2"][1].update(text=None)),
            "session_2, turn 2: text is not text",
        ),
        (broken(lambda one: one["conversation"]["session_2"][0].update(dia_id="two")), "'dia_id' is not like D1:3"),
        (broken(lambda one: one["conversation"].pop("session_1_date_time")), "session_1: its date_time"),
        (broken(lambda one: one["conversation"].update(session_1_date_time="25:00 pm on 40 Mai, 1")), "its date_time"),
        (broken(lambda one: one["qa"][0].update(question=1)), "question 1: 'question' is not text"),
        (broken(lambda one: one["qa"][0].update(evidence=[1])), "question 1: 'evidence' is not text"),
        (broken(lambda one: one.update(conversation={"speaker_a": "x"})), "holds no turn"),
    ],
)
def test_other_files_are_refused_with_the_place(tmp_path: Path, text: str, where: str) -> None:
    """A file of another shape is an error of ours that names the spot."""
    path = tmp_path / "bad.json"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(InvalidInputError) as caught:
        load(str(path))

    assert where in caught.value.message


def test_start_compares_with_the_bare_interpreter(cli: Cli) -> None:
    """Every command is timed, as a multiple of the interpreter, and nothing heavy is imported."""
    document = cli("bench", "start", "--rounds", "1", "--memories", "5", "--json").json

    assert set(document["times"]) >= {
        "python -c pass",
        "lamina --version",
        "import lamina",
        "lamina list",
        "lamina recall",
    }
    assert document["ratios"]["python -c pass"] == 1
    assert document["ratios"]["lamina --version"] > 1
    assert document["heavy_modules"] == []


def test_add_counts_fsyncs_at_the_seam(cli: Cli) -> None:
    """A durable add of a row is one fsync; that is counted, not timed."""
    document = cli("bench", "add", "--single", "5", "--many", "300", "--json").json

    assert document["single"]["fsyncs_per_add"] == 1
    assert document["single"]["operations_per_add"]["fsync"] == 1
    assert document["many"]["texts"] == 300
    assert document["many"]["bytes_per_memory"] > 100
    assert document["many"]["texts_per_second"] > 0


def test_recall_measures_warm_and_cold(cli: Cli) -> None:
    """Each size has percentiles and the time of a whole process."""
    document = cli("bench", "recall", "--rows", "50", "--rows", "120", "--queries", "10", "--cold", "1", "--json").json

    assert [entry["rows"] for entry in document["sizes"]] == [50, 120]
    for entry in document["sizes"]:
        assert 0 < entry["ms_p50"] <= entry["ms_p99"]
        assert entry["cold_ms"] > entry["bare_ms"]


def test_folder_counts_what_it_opens_and_syncs(cli: Cli, place: Path) -> None:
    """Adoption opens each file once, an unchanged directory none; an add is five fsyncs; no user's store is made."""
    sizes = ("--files", "20", "--files", "45", "--queries", "10", "--rounds", "2", "--adds", "4")
    document = cli("bench", "folder", *sizes, "--json").json

    assert [entry["files"] for entry in document["sizes"]] == [20, 45]
    for entry in document["sizes"]:
        assert entry["adopt"]["files_opened"] == entry["files"]
        assert entry["adopt"]["files_per_second"] > 0
        assert [entry[name]["files_opened"] for name in ("sync", "open", "recall", "index")] == [0, 0, 0, 0]
        assert 0 < entry["sync"]["ms_p50"] <= entry["sync"]["ms_p99"]
        assert entry["add"]["fsyncs"] == 5
        assert entry["add"]["operations"]["fsync"] >= 5
        assert (entry["sync"]["budget_ms"], entry["recall"]["budget_ms"]) == (None, None)
        assert set(entry["kept"]) == {"sync", "open", "recall", "add_fsyncs", "add_beside"}
    assert not place.exists()


def test_opened_files_are_heard_of_however_they_are_opened(tmp_path: Path) -> None:
    """open, os.open and a relative descriptor count alike; what is read outside of the context does not."""
    (tmp_path / "a.md").write_text("x", encoding="utf-8")
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        with counted_opens() as opens:
            (tmp_path / "a.md").read_text(encoding="utf-8")
            os.close(os.open(str(tmp_path / "a.md"), os.O_RDONLY))
            os.close(os.open(b"a.md", os.O_RDONLY, dir_fd=folder))
        (tmp_path / "a.md").read_text(encoding="utf-8")
    finally:
        os.close(folder)

    assert opens == {"a.md": 3}


def test_the_directory_is_realistic_and_the_same_each_time(tmp_path: Path) -> None:
    """Files of all types in both scopes, some of them without front matter, an index within its limits."""
    size = make_directory(tmp_path / "one", 60)
    make_directory(tmp_path / "two", 60)

    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.md"))
    assert [(tmp_path / "one" / path).read_bytes() for path in files] == [
        (tmp_path / "two" / path).read_bytes() for path in files
    ]
    assert len(files) == 61
    assert {path.name.split("_")[0] for path in files} == {"MEMORY.md", "user", "feedback", "project", "reference"}
    assert 10 <= sum(path.parts[0] == "team" for path in files) < 20
    assert 300 < size / 60 < 4_000
    texts = [(tmp_path / "one" / path).read_text(encoding="utf-8") for path in files]
    assert 0 < sum(not text.startswith("---") for text in texts) < 10
    assert any("metadata:\n  type:" in text for text in texts)
    assert len((tmp_path / "one" / "MEMORY.md").read_text(encoding="utf-8").splitlines()) <= 200


@pytest.mark.parametrize("name", list(BENCHMARKS))
def test_each_benchmark_explains_itself(cli: Cli, name: str) -> None:
    """--help says what is measured, and the list of benchmarks knows it."""
    assert "Options:" in cli("bench", name, "--help").out
    assert name in cli("bench", "--help").out


def test_benchmarks_need_sensible_options(cli: Cli) -> None:
    """Unknown names, missing files and sizes of nothing are usage errors or not found."""
    cli("bench", "nothing", code=2)
    cli("bench", "locomo", code=2)
    cli("bench", "recall", "--rows", "0", code=2)
    assert cli("bench", "locomo", "--data", "missing.json", "--json", code=3).error["hint"]
    assert cli("bench", "add", "--folder", "missing", "--json", code=3).error["hint"]
    assert cli("bench", "folder", "--folder", "missing", "--json", code=3).error["hint"]
    cli("bench", "folder", "--files", "0", code=2)


def test_the_texts_are_varied_and_the_same_each_time() -> None:
    """100 to 150 characters nearly always, hardly any twice, and equal for equal seeds."""
    texts = list(notes(2000))

    assert texts == list(notes(2000))
    assert len(set(texts)) > 1990
    assert sum(100 <= len(text) <= 200 for text in texts) == 2000
    assert 110 <= sum(map(len, texts)) / 2000 <= 160
    asked = list(questions(500))
    assert len(set(asked)) == 500


def test_states_are_measured(cli: Cli) -> None:
    """The benchmark of states really runs each method that is installed, and names those that are not."""
    result = cli("bench", "states", "--rows", "3000", "--dim", "16", "--commits", "200", "--json").json
    everything = {
        "single JSON", "np.save", "safetensors", "protobuf shards", "zarr", "icechunk", "lamina", "lamina, update",
        "lamina, relaxed", "lamina, float16", "lamina, int8", "lamina, delta", "lamina, tiers",
    }  # fmt: skip
    assert everything == {*result["noise"], *result["skipped"]}
    for name, facts in result["noise"].items():
        assert facts["exact"] == (name not in {"lamina, float16", "lamina, int8"})
        assert facts["save"] > 0
        assert facts["bytes"] > 0
    assert result["gc"]["after"] < result["gc"]["before"]
    assert result["gc"]["dead_share"] <= 0.25
    assert result["grid"]["fsyncs"] == 1
    assert result["grid"]["object_bytes"] <= 200
    assert result["grid"]["files"] < 50
    assert (200, 20_008) == (result["grid"]["commits"], result["grid"]["file_bytes"])
