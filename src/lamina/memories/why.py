"""The reasons of one answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from lamina.memories.drafts import indexed
from lamina.memories.evidence import Candidate, Evidence
from lamina.search.text import term_scores
from lamina.storage.reader import PassageRow
from lamina.types import Explanation, TermMatch

__all__ = ["explanation", "matches", "passage_of", "why"]

Places = Mapping[int, PassageRow]


def matches(evidence: Evidence, candidate: Candidate, places: Places) -> tuple[TermMatch, ...]:
    """Return the question's terms that a candidate's passage holds, the weightiest first."""
    place = places.get(candidate.passage)
    if place is None or not evidence.searched:
        return ()
    entry = indexed(candidate.record)(place.start, place.stop)
    found = term_scores(entry.head.split(), entry.body.split(), evidence.statistics, evidence.searched)
    return tuple(replace(match, word=evidence.words.get(match.term, match.term)) for match in found)


def passage_of(candidate: Candidate, places: Places) -> str:
    """Return the stretch of a candidate's text that matched best."""
    place = places.get(candidate.passage)
    return candidate.record.text[place.start : place.stop] if place else candidate.record.text


def explanation(evidence: Evidence, candidate: Candidate, places: Places) -> Explanation:
    """Return what spoke for a candidate, term by term and signal by signal."""
    return Explanation(
        terms=matches(evidence, candidate, places),
        signals=dict(candidate.signals),
        weights={name: evidence.weights.get(name, 0.0) for name in candidate.signals},
        passage=passage_of(candidate, places),
        notes=evidence.notices,
    )


def why(candidate: Candidate, terms: tuple[TermMatch, ...]) -> str:
    """Return the reasons as one line for people."""
    parts = []
    spoken = [match.word for match in terms if match.score > 1e-3][:5]
    if spoken:
        parts.append("words: " + ", ".join(dict.fromkeys(spoken)))
    signals = candidate.signals
    if signals.get("vector", 0) >= 1:
        parts.append(f"meaning: {signals['vector']:.1f} deviations above the mean")
    if "cosine" in signals and "vector" not in signals:
        parts.append(f"meaning: cosine {signals['cosine']:.2f}")
    if signals.get("neighbours", 0) >= 0.2:
        parts.append("its neighbours in the thread" if candidate.record.thread else "its other passages")
    if signals.get("date", 0) > 0:
        parts.append("written when the question asks about")
    if signals.get("feedback", 0) > 0:
        parts.append("it helped before")
    return "; ".join(parts) or "the closest there is"
