"""Recall: candidates from text and vectors, fused with context, confirmed by the catalog."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from lamina.embed import Embedder, WeightedQueryEmbedder
from lamina.errors import EmbedderError, InvalidInputError, LaminaError
from lamina.memories.checks import check_whole
from lamina.memories.context import Context
from lamina.memories.drafts import embed_rows, indexed
from lamina.memories.uses import flush_if_due
from lamina.search.columns import Columns
from lamina.search.dates import named_days
from lamina.search.duplicates import THRESHOLD, resemblance
from lamina.search.fuse import CANDIDATES, WEIGHTS, Ranking, fuse
from lamina.search.text import HEAD_WEIGHT, TermStatistics, ease_length, term_scores
from lamina.search.tokens import query_terms, tokens
from lamina.search.vectors import check_vector, decode
from lamina.storage.filters import Filter, Sql
from lamina.storage.reader import PassageRow, Reader
from lamina.storage.records import Record, from_micros, now_micros
from lamina.types import Explanation, Hit, Hits, MissingReport, Mode, TermMatch

__all__ = ["Question", "explain_missing", "recall"]

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

MAX_QUERY = 100_000
"""Characters of a query."""
MAX_LIMIT = 10_000
_MOST_TERMS = 200
_CHARS_A_TOKEN = 4
"""Estimate of a model's tokens: four characters each, the usual rule for English text."""
_CITATION_TOKENS = 8
_RECENCY_DAYS = 30.0
_MICROS_A_DAY = 86_400_000_000
_FEEDBACK_PRIOR = 2
"""Outcomes that a memory is imagined to have had, half of them good, before any is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """The arguments of one recall."""

    query: str | None = None
    vector: Any = None
    limit: int = 10
    mode: Mode = "hybrid"
    exact: bool = False
    token_budget: int | None = None
    explain: bool = False
    filters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class _Candidate:
    row: int
    passage: int
    record: Record
    score: float
    signals: dict[str, float]


@dataclass(slots=True)
class _Evidence:
    """Everything one recall gathered, for answering and for explaining."""

    columns: Columns
    condition: Filter
    statistics: TermStatistics
    ranked: list[_Candidate]
    notices: tuple[str, ...]
    query_words: tuple[str, ...]
    considered: int
    """How many of ``ranked`` an answer is chosen from; the others are there to explain what is missing."""


def recall(context: Context, question: Question) -> Hits:
    """Answer a question.

    Raises:
        InvalidInputError: The question says nothing, or an option has no meaning.
    """
    _check(question)
    with context.catalog.read("recalling") as reader:
        evidence = _gather(context, reader, question)
        places = reader.passages([candidate.passage for candidate in evidence.ranked])
        hits, left_out, used = _chosen(evidence, places, question)
    context.note_uses(hit.memory.id for _, hit in hits)
    flush_if_due(context)
    return Hits((hit for _, hit in hits), notices=evidence.notices, left_out=tuple(left_out), tokens=used)


def explain_missing(context: Context, question: Question, id: str) -> MissingReport:
    """Say why a memory was not among a question's hits."""
    _check(question)
    with context.catalog.read("explaining") as reader:
        revisions = [record for record in reader.revisions(id) if context.allows(record.scope)]
        if not revisions:
            where = "the store" if context.scopes is None else "a scope that this handle may see"
            return MissingReport(id=id, reasons=(f"no memory of this id is or was in {where}",))
        evidence = _gather(context, reader, question, everything=True)
        places = reader.passages([candidate.passage for candidate in evidence.ranked])
        hits, left_out, _ = _chosen(evidence, places, question)
        cutoff = hits[-1][1].score if hits else None
        ids = [candidate.record.id for candidate in evidence.ranked]
        if id in ids:
            place = ids.index(id)
            candidate = evidence.ranked[place]
            reasons: tuple[str, ...] = ()
            if all(hit.memory.id != id for _, hit in hits):
                below = (
                    f"it ranked {place + 1} and {len(hits)} were returned: its score of {candidate.score:.3f} is "
                    f"below {cutoff or 0:.3f}, the last that was returned"
                )
                reasons = tuple(why for other, why in left_out if other == id) or (below,)
            return MissingReport(
                id=id,
                reasons=reasons,
                rank=place + 1,
                score=candidate.score,
                cutoff=cutoff,
                explanation=_explanation(evidence, candidate, places),
            )
        return MissingReport(id=id, reasons=_absent(context, reader, evidence, revisions, question), cutoff=cutoff)


# --- gathering -------------------------------------------------------------------------------------------------------


def _check(question: Question) -> None:
    if question.mode not in get_args(Mode):
        raise InvalidInputError(f"{question.mode!r} is no mode.", hint="Use 'hybrid', 'text' or 'vector'.")
    check_whole(question.limit, "limit", 1, MAX_LIMIT)
    if question.token_budget is not None:
        check_whole(question.token_budget, "token_budget", 1, 2**53)
    query: object = question.query
    if query is None and question.vector is None:
        raise InvalidInputError("recall was given no question.", hint="Pass a query or a vector; `list` shows all.")
    if query is None and question.mode == "text":
        raise InvalidInputError("mode='text' was given no words to look for.", hint="Pass a query, or another mode.")
    if query is None:
        return
    if not isinstance(query, str):
        raise InvalidInputError(f"The query is a {type(query).__name__}, not a string.", hint="Pass text.")
    if not query.strip():
        raise InvalidInputError("The query is empty.", hint="Ask for something; `list` shows all.")
    if len(query) > MAX_QUERY:
        raise InvalidInputError(
            f"The query has {len(query):,} characters; at most {MAX_QUERY:,} are read.", hint="Ask for less at once."
        )


def _gather(context: Context, reader: Reader, question: Question, *, everything: bool = False) -> _Evidence:
    context.see_identity(reader)
    condition = context.condition(reader, **question.filters)
    query = question.query or ""
    words = tuple(dict.fromkeys(tokens(query)))
    terms = query_terms(query)
    notices = list(context.notices() if question.mode != "text" else ())
    if len(terms) > _MOST_TERMS:
        notices.append(f"The query has {len(terms)} different words; the {_MOST_TERMS} rarest were searched for.")
    statistics = context.statistics(reader, words)
    past = condition.as_of is not None
    columns = context.columns.past(reader, condition.as_of or 0) if past else context.columns.at(reader)
    vector, query_vector = _vector_scores(context, columns, question, statistics, notices)
    days: list[tuple[int, int]] = []
    if question.mode == "hybrid" and query and len(columns):
        created = columns.created
        days = named_days(query, from_micros(int(created.min())).year, from_micros(int(created.max())).year)

    def ranked_under(condition: Filter) -> tuple[list[_Candidate], int, bool]:
        text = (np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32))
        if question.mode != "vector" and terms:
            text = _text_candidates(reader, columns, condition, statistics, terms)
        visible = _visible(columns, reader, condition)
        ranking = fuse(columns, visible, text=text, vector=vector, days=days, context=question.mode == "hybrid")
        found, considered = _confirmed(reader, columns, condition, ranking, question, everything=everything)
        return found, considered, len(ranking.rows) >= CANDIDATES

    ranked, considered, crowded = ranked_under(condition)
    if crowded and considered < question.limit and condition.plain:
        # Expired and superseded ones took the places of candidates: look again among the others alone.
        ranked, considered, _ = ranked_under(replace(condition, where=Sql("1 = 1")))
    if query_vector is not None and (question.exact or question.mode == "vector"):
        ranked = _rescored(context, reader, ranked, query_vector, question)
    return _Evidence(columns, condition, statistics, ranked, tuple(notices), words, considered)


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


def _text_candidates(
    reader: Reader, columns: Columns, condition: Filter, statistics: TermStatistics, terms: list[str]
) -> tuple[Integers, Floats]:
    past = condition.as_of is not None
    searched = (terms if past else statistics.searched(terms))[:_MOST_TERMS]
    found = reader.match(searched, condition, limit=CANDIDATES, head_weight=HEAD_WEIGHT)
    if past:
        found += reader.match(searched, condition, limit=CANDIDATES, head_weight=HEAD_WEIGHT, past=True)
        found = _reweighed(reader, found, statistics)
    if not found:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
    rows = columns.rows(np.array([id for id, _ in found], dtype=np.int64))
    scores = np.array([score for _, score in found], dtype=np.float32)
    rows, scores = rows[rows >= 0], scores[rows >= 0]
    return rows, ease_length(scores, columns.tokens[rows], statistics.mean_tokens)


def _reweighed(reader: Reader, found: list[tuple[int, float]], statistics: TermStatistics) -> list[tuple[int, float]]:
    """Score passages of both indexes with one set of statistics: a small index of the past has its own, and they lie."""
    places = reader.passages([id for id, _ in found])
    records = reader.records({place.memory for place in places.values()})
    result = []
    for id, _ in found:
        place = places.get(id)
        if place is None or place.memory not in records:
            continue
        entry = indexed(records[place.memory])(place.start, place.stop)
        matches = term_scores(entry.head.split(), entry.body.split(), statistics)
        result.append((id, sum(match.score for match in matches)))
    return result


def _vector_scores(
    context: Context, columns: Columns, question: Question, statistics: TermStatistics, notices: list[str]
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
    waiting = int((columns.scale == 0).sum())
    if waiting and waiting > 0.001 * len(columns):
        notices.append(f"{waiting:,} of {len(columns):,} passages have no vector yet. Run `lamina reindex`.")
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
) -> tuple[list[_Candidate], int]:
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
    found: list[_Candidate] = []
    considered = at = 0
    while at < len(first) and (everything or len(found) < wanted):
        part = first[at : at + wanted]
        at += len(part)
        records = reader.records(memories[part].tolist(), condition)
        for place in part.tolist():
            record = records.get(int(memories[place]))
            if record is None:
                continue
            signals = {name: float(values[place]) for name, values in ranking.signals.items()}
            if question.mode == "hybrid":
                signals |= _standing(record, condition.as_of or condition.now)
            score = sum(WEIGHTS[name] * value for name, value in signals.items())
            row = int(rows[place])
            found.append(_Candidate(row, int(columns.passage[row]), record, score, signals))
        if not considered and len(found) >= wanted:
            considered = len(found)
    considered = considered or len(found)
    return sorted(found[:considered], key=_best_first) + sorted(found[considered:], key=_best_first), considered


def _best_first(candidate: _Candidate) -> tuple[float, int, str]:
    return -candidate.score, -candidate.record.created_at, candidate.record.id


def _standing(record: Record, now: int) -> dict[str, float]:
    """Return what speaks for a memory whatever is asked: each lies from -1 to 1 and weighs little."""
    outcomes = record.helped + record.hurt
    age = max(now - record.created_at, 0) / _MICROS_A_DAY
    return {
        "importance": 2 * record.importance - 1,
        "recency": math.exp(-age / _RECENCY_DAYS),
        "feedback": (record.helped - record.hurt) / (outcomes + _FEEDBACK_PRIOR) if outcomes else 0.0,
    }


def _rescored(
    context: Context, reader: Reader, ranked: list[_Candidate], query: Floats, question: Question
) -> list[_Candidate]:
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
    if question.mode == "vector":
        for candidate in best:
            if candidate.passage in exact:
                candidate.signals["cosine"] = exact[candidate.passage]
        best.sort(key=lambda candidate: -exact.get(candidate.passage, -1.0))
        top = sorted(((candidate.score, candidate.signals["vector"]) for candidate in best), reverse=True)
        for candidate, (score, signal) in zip(best, top, strict=True):
            candidate.score, candidate.signals["vector"] = score, signal
    else:
        for candidate in best:
            if candidate.passage in exact:
                candidate.signals["cosine"] = exact[candidate.passage]
    return best + ranked[len(best) :]


# --- choosing --------------------------------------------------------------------------------------------------------


def _chosen(
    evidence: _Evidence, places: Mapping[int, PassageRow], question: Question
) -> tuple[list[tuple[int, Hit]], list[tuple[str, str]], int]:
    """Take what was asked for; with a token budget, leave out near-duplicates and what does not fit, and name it."""
    hits: list[tuple[int, Hit]] = []
    left_out: list[tuple[str, str]] = []
    used = 0
    words: list[list[str]] = []
    for candidate in evidence.ranked[: evidence.considered]:
        if len(hits) >= question.limit:
            break
        record = candidate.record
        cost = math.ceil(len(record.text) / _CHARS_A_TOKEN) + _CITATION_TOKENS
        if question.token_budget is not None:
            found = tokens(record.text)
            twin = next((n for n, held in enumerate(words) if resemblance(found, held) >= THRESHOLD), None)
            if twin is not None:
                left_out.append((record.id, f"near-duplicate of {hits[twin][1].memory.id}"))
                continue
            if used + cost > question.token_budget:
                left_out.append((record.id, f"needs about {cost} tokens, {question.token_budget - used} are left"))
                continue
            words.append(found)
        used += cost
        explanation = _explanation(evidence, candidate, places) if question.explain else None
        terms = explanation.terms if explanation else _matches(evidence, candidate, places)
        hits.append(
            (
                record.seq,
                Hit(
                    memory=record.to_memory(),
                    score=candidate.score,
                    why=_why(candidate, terms),
                    explanation=explanation,
                ),
            )
        )
    return hits, left_out, used


def _matches(evidence: _Evidence, candidate: _Candidate, places: Mapping[int, PassageRow]) -> tuple[TermMatch, ...]:
    place = places.get(candidate.passage)
    if place is None or not evidence.query_words:
        return ()
    entry = indexed(candidate.record)(place.start, place.stop)
    return term_scores(entry.head.split(), entry.body.split(), evidence.statistics)


def _explanation(evidence: _Evidence, candidate: _Candidate, places: Mapping[int, PassageRow]) -> Explanation:
    place = places.get(candidate.passage)
    passage = candidate.record.text[place.start : place.stop] if place else candidate.record.text
    return Explanation(
        terms=_matches(evidence, candidate, places),
        signals=dict(candidate.signals),
        weights={name: WEIGHTS.get(name, 0.0) for name in candidate.signals},
        passage=passage,
        notes=evidence.notices,
    )


def _why(candidate: _Candidate, terms: tuple[TermMatch, ...]) -> str:
    parts = []
    spoken = [match.term for match in terms if match.score > 1e-3][:5]
    if spoken:
        parts.append("words: " + ", ".join(spoken))
    signals = candidate.signals
    if signals.get("vector", 0) >= 1:
        parts.append(f"meaning: {signals['vector']:.1f} deviations above the mean")
    if signals.get("neighbours", 0) >= 0.2:
        parts.append("its neighbours in the thread")
    if signals.get("date", 0) > 0:
        parts.append("written when the question asks about")
    if signals.get("feedback", 0) > 0:
        parts.append("it helped before")
    return "; ".join(parts) or "the closest there is"


def _absent(
    context: Context, reader: Reader, evidence: _Evidence, revisions: list[Record], question: Question
) -> tuple[str, ...]:
    condition, last = evidence.condition, revisions[-1]
    moment = condition.as_of
    if moment is not None:
        then = next((r for r in revisions if r.valid_from <= moment and (not r.valid_to or moment < r.valid_to)), None)
        if then is None:
            return (f"it was not there at {from_micros(moment).isoformat()}",)
        last = then
    elif last.valid_to and last.ended != "delete":
        return (f"it moved to a scope that this handle may not see at {from_micros(last.valid_to).isoformat()}",)
    elif last.valid_to:
        return (f"it was deleted at {from_micros(last.valid_to).isoformat()}",)
    reasons = []
    if last.superseded_by:
        reasons.append(f"it is superseded by {last.superseded_by}")
    if last.valid_until is not None and last.valid_until <= (moment or now_micros()):
        reasons.append(f"it expired at {from_micros(last.valid_until).isoformat()}")
    for name, value in question.filters.items():
        if value is None or name == "as_of":
            continue
        alone = context.condition(reader, **{name: value, "as_of": question.filters.get("as_of")}, expired=True)
        if not reader.records([last.seq], alone):
            reasons.append(f"the filter {name}={value!r} leaves it out")
    if reasons:
        return tuple(reasons)
    shared = set(evidence.query_words) & set(tokens(" ".join(filter(None, (last.title, last.description, last.text)))))
    words = (
        f"it shares {', '.join(sorted(shared))} with the question" if shared else "it shares no word with the question"
    )
    return (f"nothing put it among the candidates: {words}, and its vector is not among the {CANDIDATES} closest",)
