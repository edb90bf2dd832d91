"""BM25 over the store's own statistics, and the exact share of every term in a score.

FTS5 ranks the candidates; this module repeats its formula for the few passages that are explained, or that come from
the index of the past and must be weighed like current ones. The formula is FTS5's (sqlite.org/fts5.html, "The bm25()
function"; Robertson and Zaragoza 2009), k1 = 1.2 and b = 0.75, an idf below zero counted as 1e-6.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from lamina.storage.fts import TextStatistics
from lamina.storage.reader import Reader
from lamina.types import TermMatch

__all__ = ["HEAD_WEIGHT", "TermStatistics", "ease_length", "term_scores"]

HEAD_WEIGHT = 2.0
"""What a word in title or description counts, one in the body being 1."""
_K1 = 1.2
_B = 0.75
_EASED_B = 0.5
_LEAST_IDF = 1e-6
_MOST_KNOWN = 50_000
_SMALL = 2_000
"""Passages up to which a common term is searched for too: it costs little, and finds what nothing else does."""
_POSTINGS = 12_000
"""Postings that a query reads before its most frequent terms are left out of the search."""


class TermStatistics:
    """Document frequencies of a query's terms, at one moment of the catalog."""

    def __init__(
        self,
        reader: Reader,
        terms: Sequence[str],
        known: dict[str, tuple[int, int]] | None = None,
        fresh: float = 0.0,
    ) -> None:
        """Look the terms up.

        Args:
            reader: The moment to count at.
            terms: Index terms.
            known: Frequencies counted before, with the number of passages then; filled and bounded here.
            fresh: Share of new passages up to which a known frequency is used again: counting a frequent word reads
                its whole list.
        """
        self.store: TextStatistics = reader.text_statistics()
        self.frequency: dict[str, int] = {}
        known = {} if known is None else known
        if len(known) > _MOST_KNOWN:
            known.clear()
        for term in terms:
            count, passages = known.get(term, (0, -1))
            if passages < 0 or abs(self.store.passages - passages) > fresh * passages:
                count = reader.document_frequency(term)
                known[term] = (count, self.store.passages)
            self.frequency[term] = count

    def searched(self, terms: Sequence[str]) -> list[str]:
        """Return the terms worth searching for, the rarest first.

        In a larger store a term in more than half of the passages is left out, for it has no weight; and where
        frequent terms would make the search long, the most frequent are left out. The rarest always stays.
        """
        found = sorted((term for term in terms if self.frequency.get(term)), key=self.frequency.__getitem__)
        kept: list[str] = []
        total = 0
        for term in found:
            count = self.frequency[term]
            total += count
            common = 2 * count > self.store.passages > _SMALL
            if kept and (total > _POSTINGS or common):
                break
            kept.append(term)
        return kept

    def idf(self, term: str) -> float:
        """Return the inverse document frequency that FTS5 gives a term."""
        count = self.frequency.get(term, 0)
        return max(math.log((max(self.store.passages - count, 0) + 0.5) / (count + 0.5)), _LEAST_IDF)

    def full(self, terms: Iterable[str]) -> float:
        """Return the BM25 score of a passage of mean length that holds every term once, unknown terms included."""
        return sum(self.idf(term) for term in terms)

    def weight(self, term: str | None) -> float:
        """Return how much a query word counts in its vector: ln((N + 1) / (df + 0.5)); 0 for no word at all."""
        if term is None:
            return 0.0
        return math.log((self.store.passages + 1) / (self.frequency.get(term, 0) + 0.5))

    @property
    def mean_tokens(self) -> float:
        """Mean number of tokens of a passage."""
        return (self.store.tokens / self.store.passages if self.store.passages else 0.0) or 1.0


def ease_length(scores: npt.NDArray[np.float32], tokens: npt.NDArray[np.int64], mean: float) -> npt.NDArray[np.float32]:
    """Bring BM25 scores from FTS5's b = 0.75 to b = 0.5, exact where every term occurs once.

    Turns and notes are short, and a long one is no worse for it: 0.5 to 1 point of recall@10 on
    LoCoMo (docs/design/005).
    """
    ratio = tokens / mean
    old = 1 + _K1 * (1 - _B + _B * ratio)
    new = 1 + _K1 * (1 - _EASED_B + _EASED_B * ratio)
    return (scores * old / new).astype(np.float32)


def term_scores(
    head: Sequence[str], body: Sequence[str], statistics: TermStatistics, terms: Iterable[str]
) -> tuple[TermMatch, ...]:
    """Return each query term's share of a passage's BM25 score, the largest first; their sum is FTS5's own score.

    Args:
        head: Tokens of title and description.
        body: Tokens of the passage.
        statistics: Of the query's terms.
        terms: Those that were searched for.
    """
    length = len(head) + len(body) + 2  # the marks of scope and type count as tokens
    counts = _counts(head, body, frozenset(terms))
    found = []
    for term, (in_head, in_body) in counts.items():
        frequency = HEAD_WEIGHT * in_head + in_body
        norm = _K1 * (1 - _B + _B * length / statistics.mean_tokens)
        score = statistics.idf(term) * frequency * (_K1 + 1) / (frequency + norm)
        found.append(TermMatch(term=term, count=in_head + in_body, documents=statistics.frequency[term], score=score))
    return tuple(sorted(found, key=lambda match: -match.score))


def _counts(head: Sequence[str], body: Sequence[str], terms: frozenset[str]) -> dict[str, tuple[int, int]]:
    counts: dict[str, tuple[int, int]] = {}
    for words, place in ((head, 0), (body, 1)):
        for word in words:
            if word in terms:
                one, two = counts.get(word, (0, 0))
                counts[word] = (one + 1, two) if place == 0 else (one, two + 1)
    return counts
