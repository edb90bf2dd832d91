"""Gathering evidence: candidates from text and vectors, fused with context, confirmed by the catalog."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lamina.embed import Embedder, WeightedQueryEmbedder
from lamina.errors import EmbedderError, LaminaError
from lamina.memories.context import Context
from lamina.memories.drafts import embed_rows, indexed
from lamina.memories.question import Question
from lamina.search.columns import Columns
from lamina.search.dates import named_days
from lamina.search.fuse import CANDIDATES, WEIGHTS, Ranking, by_cosine, fuse
from lamina.search.outcomes import centre
from lamina.search.text import HEAD_WEIGHT, TermStatistics, ease_length, term_scores
from lamina.search.tokens import query_terms, tokens
from lamina.search.vectors import check_vector, decode
from lamina.storage.filters import Filter
from lamina.storage.reader import Reader, Standing
from lamina.storage.records import Record, from_micros

__all__ = ["Candidate", "Evidence", "gather"]

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

_MOST_TERMS = 200
_WIDER = 4
"""How many times more candidates are looked at when too few of them are different memories."""
_RECENCY_DAYS = 30.0
_MICROS_A_DAY = 86_400_000_000
_WORD = re.compile(r"\S+")
_PUNCTUATION = ".,;:!?\"'()[]{}<>"
_COSINE_ALONE = {"cosine": 1.0}
"""Weights of ``mode="vector"``."""


@dataclass(slots=True)
class Candidate:
    """A memory that may be an answer, by its best passage."""

    row: int
    """Row of the columns."""
    passage: int
    record: Record
    score: float
    signals: dict[str, float]


class _Ranked(NamedTuple):
    """A memory whose text was not read yet; the best is the smallest."""

    less: float
    """Its score below zero."""
    older: int
    """When it was made, below zero."""
    id: str
    place: int
    """In the ranking."""
    signals: dict[str, float]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything one recall gathered, for answering and for explaining."""

    condition: Filter
    ranked: list[Candidate]
    considered: int
    """How many of ``ranked`` an answer is chosen from; the others are there to explain what is missing."""
    weights: Mapping[str, float]
    """What each signal is multiplied with."""
    statistics: TermStatistics
    searched: tuple[str, ...]
    """Terms that the text index was asked for."""
    words: Mapping[str, str]
    """The question's word for each of its terms."""
    notices: tuple[str, ...]


def gather(context: Context, reader: Reader, question: Question, *, everything: bool = False) -> Evidence:
    """Rank the memories that may answer a question.

    Args:
        context: Of the store.
        reader: The moment to answer at.
        question: Checked.
        everything: Also rank the candidates that no answer would be chosen from.
    """
    context.see_identity(reader)
    condition = context.condition(reader, **question.filters)
    query = question.query or ""
    words = {term: word.strip(_PUNCTUATION) for word in _WORD.findall(query) for term in reversed(tokens(word))}
    terms = query_terms(query) if question.mode != "vector" else []
    notices = list(context.notices() if question.mode != "text" else ())
    if len(terms) > _MOST_TERMS:
        notices.append(f"The query has {len(terms)} different words; the {_MOST_TERMS} rarest were searched for.")
    statistics = context.statistics(reader, list(words))
    past = condition.as_of is not None
    columns = context.columns.past(reader, condition.as_of or 0) if past else context.columns.at(reader)
    searched = tuple((sorted(terms, key=statistics.weight) if past else statistics.searched(terms))[:_MOST_TERMS])
    vector, query_vector = _vector_scores(context, columns, question, statistics)
    if vector is not None and (columns.scale == 0).any() and (waiting := reader.count_waiting()):
        notices.append(f"{waiting:,} passages have no vector yet. Run `lamina reindex`.")
    visible = _visible(columns, reader, condition)
    days: list[tuple[int, int]] = []
    if question.mode == "hybrid" and query and len(columns):
        created = columns.created
        days = named_days(query, from_micros(int(created.min())).year, from_micros(int(created.max())).year)
    count = max(CANDIDATES, 3 * question.limit)
    while True:
        if question.mode == "vector":
            ranking = by_cosine(columns, visible, vector, count)
        else:
            found = _matched(reader, condition, searched, statistics, count)
            text = _as_rows(columns, found, statistics)
            hybrid = question.mode == "hybrid"
            ranking = fuse(
                columns,
                visible,
                text=text,
                vector=vector,
                days=days,
                full=statistics.full(terms) if hybrid else 0.0,
                context=hybrid,
                candidates=count,
                least=question.limit,
            )
        ranked, considered = _confirmed(reader, columns, condition, ranking, question, everything=everything)
        if considered >= question.limit or len(ranking.rows) < count or count >= len(columns):
            break
        count *= _WIDER  # passages of few memories, or of expired ones, took the places
    if query_vector is not None and (question.exact or question.mode == "vector"):
        ranked = _rescored(context, reader, ranked, query_vector, question)
    weights = _COSINE_ALONE if question.mode == "vector" else WEIGHTS
    return Evidence(condition, ranked, considered, weights, statistics, searched, words, tuple(notices))


def _visible(columns: Columns, reader: Reader, condition: Filter) -> npt.NDArray[np.bool_]:
    visible = columns.alive
    if condition.plain:
        if condition.scopes is not None:
            visible = visible & np.isin(columns.scope, condition.scopes)
        if condition.types is not None:
            visible = visible & np.isin(columns.type, condition.types)
        return visible
    rows = columns.rows(np.array(sorted(reader.passage_ids(condition)), dtype=np.int64))
    chosen = np.zeros(len(columns), dtype=bool)
    chosen[rows[rows >= 0]] = True
    return visible & chosen


def _matched(
    reader: Reader, condition: Filter, searched: tuple[str, ...], statistics: TermStatistics, count: int
) -> list[tuple[int, float]]:
    found = reader.match(searched, condition, limit=count, head_weight=HEAD_WEIGHT)
    if condition.as_of is not None:
        found += reader.match(searched, condition, limit=count, head_weight=HEAD_WEIGHT, past=True)
        found = _reweighed(reader, found, statistics, searched)
    return found


def _as_rows(columns: Columns, found: list[tuple[int, float]], statistics: TermStatistics) -> tuple[Integers, Floats]:
    rows = columns.rows(np.array([id for id, _ in found], dtype=np.int64))
    scores = np.array([score for _, score in found], dtype=np.float32)
    rows, scores = rows[rows >= 0], scores[rows >= 0]
    return rows, ease_length(scores, columns.tokens[rows], statistics.mean_tokens)


def _reweighed(
    reader: Reader, found: list[tuple[int, float]], statistics: TermStatistics, searched: tuple[str, ...]
) -> list[tuple[int, float]]:
    """Score passages of both indexes with one set of statistics: a small index has its own, and they lie."""
    places = reader.passages([id for id, _ in found])
    records = reader.records({place.memory for place in places.values()})
    result = []
    for id, _ in found:
        place = places.get(id)
        if place is None or place.memory not in records:
            continue
        entry = indexed(records[place.memory])(place.start, place.stop)
        matches = term_scores(entry.head.split(), entry.body.split(), statistics, searched)
        result.append((id, sum(match.score for match in matches)))
    return result


def _vector_scores(
    context: Context, columns: Columns, question: Question, statistics: TermStatistics
) -> tuple[Floats | None, Floats | None]:
    if question.mode == "text":
        return None, None
    query: Floats | None
    if question.vector is not None:
        query = check_vector(question.vector, context.dim or None, "the query's vector")
    else:
        embedder = context.active
        if embedder is None or not columns.dim:
            return None, None
        query = _query_vector(embedder, question.query or "", statistics)
    if query is None or len(query) != columns.dim or not len(columns):
        return None, None
    return columns.similarity(query), query


def _query_vector(embedder: Embedder, query: str, statistics: TermStatistics) -> Floats | None:
    def weight(word: str) -> float:
        return statistics.weight(next(iter(tokens(word)), None))

    try:
        if isinstance(embedder, WeightedQueryEmbedder):
            vector = embedder.embed_query_weighted(query, weight)
        else:
            vector = embedder.embed_query(query)
        result = np.asarray(vector, dtype=np.float32)
    except LaminaError:
        raise
    except Exception as error:  # an embedder of the user's may raise anything
        raise EmbedderError(
            f"The embedder {embedder.name} failed on the query: {type(error).__name__}: {error}.",
            hint="Check it, or ask with mode='text'.",
        ) from error
    if result.shape != (embedder.dim,) or not np.isfinite(result).all():
        raise EmbedderError(
            f"The embedder {embedder.name} gave no vector of {embedder.dim} finite numbers.",
            hint="Check it, or ask with mode='text'.",
        )
    return result if result.any() else None


def _confirmed(
    reader: Reader, columns: Columns, condition: Filter, ranking: Ranking, question: Question, *, everything: bool
) -> tuple[list[Candidate], int]:
    """Fetch the best candidates, keep what the catalog confirms, one a memory, and weigh importance and the like.

    Returns:
        The candidates, best first, and how many of them an answer is chosen from: with ``everything`` the rest follow.
    """
    rows = ranking.rows
    if not len(rows):
        return [], 0
    memories = columns.memory[rows]
    _, first = np.unique(memories, return_index=True)
    first = np.sort(first)  # the best passage of each memory, still best first
    wanted = 2 * question.limit + 20
    weights = _COSINE_ALONE if question.mode == "vector" else WEIGHTS
    found: list[_Ranked] = []
    considered = at = 0
    while at < len(first) and (everything or len(found) < wanted):
        part = first[at : at + wanted]
        at += len(part)
        standings = reader.standings(memories[part].tolist(), condition)
        for place in part.tolist():
            standing = standings.get(int(memories[place]))
            if standing is None or standing.id in question.already_shown:
                continue
            signals = {name: float(values[place]) for name, values in ranking.signals.items()}
            if question.mode == "hybrid":
                signals |= _standing(standing, condition.as_of or condition.now)
            score = sum(weights[name] * value for name, value in signals.items())
            found.append(_Ranked(-score, -standing.created_at, standing.id, place, signals))
        if not considered and len(found) >= wanted:
            considered = len(found)
    considered = considered or len(found)
    ordered = sorted(found[:considered]) + sorted(found[considered:])
    if not (everything or question.exact or question.mode == "vector" or question.token_budget is not None):
        ordered = ordered[: question.limit]  # nothing reorders them or leaves one out, so no other text is read
    records = reader.records([int(memories[one.place]) for one in ordered], condition)
    candidates = []
    for one in ordered:
        row = int(rows[one.place])
        record = records[int(memories[one.place])]
        candidates.append(Candidate(row, int(columns.passage[row]), record, -one.less, one.signals))
    return candidates, min(considered, len(candidates))


def _best_first(candidate: Candidate) -> tuple[float, int, str]:
    return -candidate.score, -candidate.record.created_at, candidate.record.id


def _standing(standing: Standing, now: int) -> dict[str, float]:
    """Return what speaks for a memory whatever is asked: each lies from -1 to 1 and weighs little."""
    outcomes = standing.helped + standing.hurt
    age = max(now - standing.created_at, 0) / _MICROS_A_DAY
    return {
        "importance": 2 * standing.importance - 1,
        "recency": math.exp(-age / _RECENCY_DAYS),
        "feedback": 2 * centre(standing.helped, outcomes) - 1 if outcomes else 0.0,
    }


def _rescored(
    context: Context, reader: Reader, ranked: list[Candidate], query: Floats, question: Question
) -> list[Candidate]:
    """Compare the best with their vectors in full precision: stored so, or made again where that is cheap."""
    best = ranked[: 2 * question.limit]
    places = reader.passages([candidate.passage for candidate in best])
    exact: dict[int, float] = {}
    texts: list[tuple[int, str]] = []
    embedder = context.active
    for candidate in best:
        place = places.get(candidate.passage)
        if place is None:
            continue
        held = next((row for row in reader.passages_of(place.memory) if row[0] == place.id), None)
        if held is None or not held[4]:
            continue
        with contextlib.suppress(ValueError):  # a damaged one; the scan has left it out too
            exact[candidate.passage] = float(decode(held[3] or 0.0, held[4], len(query)) @ query)
        if len(held[4]) < 2 * len(query) and not held[5] and getattr(embedder, "cheap", False):
            texts.append((candidate.passage, candidate.record.text[place.start : place.stop]))
    if texts and embedder is not None:
        rows = embed_rows(embedder, [text for _, text in texts])
        exact |= {passage: float(row @ query) for (passage, _), row in zip(texts, rows, strict=True)}
    for candidate in best:
        if candidate.passage in exact:
            candidate.signals["cosine"] = exact[candidate.passage]
            if question.mode == "vector":
                candidate.score = exact[candidate.passage]
    return sorted(best, key=_best_first) + ranked[len(best) :]
