"""Recall: the memories that answer a question."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from lamina.framing import age_of
from lamina.memories.context import Context
from lamina.memories.evidence import Evidence, gather
from lamina.memories.question import Question
from lamina.memories.uses import flush_if_due
from lamina.memories.why import explanation, matches, passage_of, why
from lamina.search.duplicates import THRESHOLD, resemblance
from lamina.search.tokens import tokens
from lamina.storage.reader import PassageRow
from lamina.types import Hit, Hits

__all__ = ["choose", "recall"]

_CHARS_A_TOKEN = 4
"""Estimate of a model's tokens: four characters each, the usual rule for English text."""
_CITATION_TOKENS = 16
"""Of the line that names a memory, its file and its age."""
_FRAME_TOKENS = 25
"""Of the lines around all of them."""


def recall(context: Context, question: Question) -> Hits:
    """Answer a question.

    Raises:
        InvalidInputError: The question says nothing, or an option has no meaning.
    """
    question.check()
    patterns, told = _patterns(context, question)
    if "memories" not in question.include:
        return Hits(notices=told, patterns=patterns)
    with context.catalog.read("recalling") as reader:
        evidence = gather(context, reader, question)
        places = reader.passages([candidate.passage for candidate in evidence.ranked])
        hits, left_out, used = choose(evidence, places, question)
    context.note_uses(hit.memory.id for hit in hits)
    flush_if_due(context)
    notices = (*evidence.notices, *told)
    return Hits(hits, notices=notices, left_out=tuple(left_out), tokens=used, patterns=patterns)


def _patterns(context: Context, question: Question) -> tuple[tuple[Any, ...], tuple[str, ...]]:
    """Return the patterns that fit the question where they were asked for, and why there are none."""
    if "patterns" not in question.include or question.query is None:
        return (), ()
    if context.find_patterns is None:
        return (), ("Patterns belong to the whole store; this handle sees only some scopes.",)
    return context.find_patterns(question.query, question.limit), ()


def choose(
    evidence: Evidence, places: Mapping[int, PassageRow], question: Question
) -> tuple[list[Hit], list[tuple[str, str]], int]:
    """Take what was asked for; with a token budget, leave out near-duplicates and what does not fit, and name it."""
    hits: list[Hit] = []
    left_out: list[tuple[str, str]] = []
    used = 0
    now = datetime.now(UTC)
    words: list[list[str]] = []
    for candidate in evidence.ranked[: evidence.considered]:
        if len(hits) >= question.limit:
            break
        record = candidate.record
        cost = math.ceil(len(record.text) / _CHARS_A_TOKEN) + _CITATION_TOKENS + (0 if hits else _FRAME_TOKENS)
        if question.token_budget is not None:
            found = tokens(record.text)
            twin = next((n for n, held in enumerate(words) if resemblance(found, held) >= THRESHOLD), None)
            if twin is not None:
                left_out.append((record.id, f"near-duplicate of {hits[twin].memory.id}"))
                continue
            if used + cost > question.token_budget:
                left_out.append((record.id, f"needs about {cost} tokens, {question.token_budget - used} are left"))
                continue
            words.append(found)
        used += cost
        told = explanation(evidence, candidate, places) if question.explain else None
        terms = told.terms if told else matches(evidence, candidate, places)
        memory = record.to_memory()
        hits.append(
            Hit(
                memory=memory,
                score=candidate.score,
                why=why(candidate, terms),
                passage=passage_of(candidate, places),
                explanation=told,
                age=age_of(memory.updated_at, now),
            )
        )
    return hits, left_out, used
