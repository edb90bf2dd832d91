"""Why a memory was not an answer."""

from __future__ import annotations

from lamina.memories.context import Context
from lamina.memories.evidence import Evidence, gather
from lamina.memories.question import Question
from lamina.memories.recall import choose
from lamina.memories.why import explanation
from lamina.search.fuse import CANDIDATES
from lamina.search.tokens import tokens
from lamina.storage.reader import Reader
from lamina.storage.records import Record, from_micros, now_micros
from lamina.types import MissingReport

__all__ = ["explain_missing"]


def explain_missing(context: Context, question: Question, id: str) -> MissingReport:
    """Say why a memory was not among a question's hits."""
    question.check()
    with context.catalog.read("explaining") as reader:
        revisions = [record for record in reader.revisions(id) if context.allows(record.scope)]
        if not revisions:
            where = "the store" if context.scopes is None else "a scope that this handle may see"
            return MissingReport(id=id, reasons=(f"no memory of this id is or was in {where}",))
        evidence = gather(context, reader, question, everything=True)
        places = reader.passages([candidate.passage for candidate in evidence.ranked])
        hits, left_out, _ = choose(evidence, places, question)
        cutoff = hits[-1].score if hits else None
        ids = [candidate.record.id for candidate in evidence.ranked]
        if id in ids:
            place = ids.index(id)
            candidate = evidence.ranked[place]
            reasons: tuple[str, ...] = ()
            if all(hit.memory.id != id for hit in hits):
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
                explanation=explanation(evidence, candidate, places),
            )
        return MissingReport(id=id, reasons=_absent(context, reader, evidence, revisions, question), cutoff=cutoff)


def _absent(
    context: Context, reader: Reader, evidence: Evidence, revisions: list[Record], question: Question
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
    shared = set(evidence.words) & set(tokens(" ".join(filter(None, (last.title, last.description, last.text)))))
    words = (
        f"it shares {', '.join(sorted(shared))} with the question" if shared else "it shares no word with the question"
    )
    return (f"nothing put it among the candidates: {words}, and its vector is not among the {CANDIDATES} closest",)
