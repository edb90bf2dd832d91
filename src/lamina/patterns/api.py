"""``store.patterns``: what worked."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lamina.patterns.arguments import check_path, check_place, id_of, row_of
from lamina.patterns.query import PatternQuery
from lamina.patterns.rows import ORIGINS, numbered_row, to_patterns
from lamina.patterns.values import PATTERN_TYPES
from lamina.sessions.checks import check_choice, check_number, check_strings, check_text, check_zone, moment
from lamina.storage.catalog import SqliteCatalog
from lamina.storage.checks import check_whole
from lamina.storage.records import from_micros

if TYPE_CHECKING:  # defining them takes longer than the first query
    from lamina.patterns.mirror import Mirror
    from lamina.patterns.reports import (
        FileLink,
        LearnReport,
        PatternExplanation,
        PatternImport,
        Plan,
        Related,
        Suggestion,
        Trend,
    )
    from lamina.patterns.usage import Usage
    from lamina.patterns.values import Pattern

__all__ = ["Patterns"]

_TREND_WEEKS = 12


class Patterns:
    """The patterns of an open store; safe to use from several threads.

    A pattern is a type and a sequence of steps, with every use and its outcome. Times are ``datetime``; one without a
    zone is read as UTC.
    """

    TYPES = PATTERN_TYPES
    """The types that agents bring along; any other name works as well."""

    def __init__(self, catalog: SqliteCatalog) -> None:
        self._catalog = catalog
        self._mirror: Mirror | None = None

    # --- recording ---------------------------------------------------------------------------------------------------

    def record(
        self,
        steps: Sequence[str],
        *,
        type: str,
        success: bool,
        files: Sequence[str | os.PathLike[str]] = (),
        tools: Sequence[str] = (),
        session: str | None = None,
        description: str | None = None,
        at: datetime | None = None,
        duration: float | timedelta | None = None,
    ) -> Pattern:
        """Record one use of a pattern, making the pattern where it is new. It is durable when this returns.

        Args:
            steps: What was done, in order, as it is: type and exact steps are the pattern's identity.
            type: One of :attr:`TYPES`, or any other name.
            success: Whether it worked.
            files: Paths that it was used with.
            tools: Tools that it was used with.
            session: The session it belongs to; made where it is not there.
            description: One line; kept from the first use that has one.
            at: When; now when None.
            duration: Seconds.

        Returns:
            The pattern with the use counted; where it was merged into another, that one.

        Raises:
            InvalidInputError: A value that may not be stored; it names it.
        """
        from lamina.patterns.recording import Recorder, check_use

        use = check_use(
            {
                "steps": steps,
                "type": type,
                "success": success,
                "files": files,
                "tools": tools,
                "session": session,
                "description": description,
                "at": at,
                "duration": duration,
            }
        )
        with self._catalog.write("recording a use of a pattern") as writer:
            recorder = Recorder(writer)
            recorder.add([use])
            (number,) = recorder.touched
            pattern = to_patterns(writer, [numbered_row(writer, number)])[0]
        self._follow([pattern.id])
        return pattern

    def record_many(self, events: Iterable[Mapping[str, Any]], *, progress: Callable[[int], None] | None = None) -> int:
        """Record many uses in durable batches, with flat memory.

        Args:
            events: Dicts of :meth:`record`'s arguments; read as they are needed.
            progress: Called after each batch with the number recorded so far.

        Returns:
            How many were recorded.

        Raises:
            InvalidInputError: An event that may not be stored; ``details`` has its place (``item``) and how many were
                ``recorded`` before, which are kept.
        """
        from lamina.patterns.recording import record_many

        try:
            return record_many(self._catalog, events, progress)
        finally:
            self._refresh()

    # --- looking -----------------------------------------------------------------------------------------------------

    def get(self, id: str) -> Pattern:
        """Return a pattern; where it was merged into another, that one.

        Args:
            id: Its id, or a beginning of it that no other has.

        Raises:
            NotFoundError: There is none of this id, or it was removed.
            InvalidInputError: Several begin like this.
        """
        with self._catalog.read("getting a pattern") as reader:
            return to_patterns(reader, [row_of(reader, id)])[0]

    def delete(self, id: str) -> Pattern:
        """Delete a pattern with its own uses, for good.

        What was merged into it is its own again. Learning does not find it again; recording it brings it back, empty.

        Raises:
            NotFoundError: There is none of this id.
        """
        from lamina.patterns.families import delete

        with self._catalog.write("deleting a pattern") as writer:
            pattern = delete(writer, id_of(writer, id))
        self._refresh()
        return pattern

    def explain(self, id: str, *, limit: int = 20) -> PatternExplanation:
        """Return why a pattern exists: its sessions, the latest first, and its figures with their formulas filled in.

        Raises:
            NotFoundError: There is none of this id.
        """
        from lamina.patterns.explain import explain

        count = check_whole(limit, "limit", 0, 2**31)
        with self._catalog.read("explaining a pattern") as reader:
            return explain(reader, row_of(reader, id), count)

    def query(self) -> PatternQuery:
        """Begin a query: filters, an order, a limit, then ``all()``.

        ::

            store.patterns.query().of_type("TestingPattern").min_success_rate(0.8).limit(5).all()
        """
        return PatternQuery(self._catalog)

    def usage(self, id: str) -> Usage:
        """Return a pattern's uses over time: ``by_day()``, ``by_week()``, ``by_month()``, ``trend()``.

        Raises:
            NotFoundError: There is none of this id.
        """
        from lamina.patterns.usage import Usage

        with self._catalog.read("looking up a pattern") as reader:
            row = row_of(reader, id)
        return Usage(self._catalog, row[0], row[1])

    def trends(
        self, *, weeks: int = _TREND_WEEKS, limit: int = 20, tz: str | tzinfo = "UTC", now: datetime | None = None
    ) -> list[Trend]:
        """Return the patterns whose success rate changes most surely, of the 500 most used ones of that time.

        Rising and falling ones come first, then steady ones, then those of which nothing can be told.

        Args:
            weeks: How far to look back.
            limit: At most so many.
            tz: Time zone of the weeks.
            now: End of the time that is looked at; now when None.
        """
        from lamina.patterns.trends import trends

        zone = check_zone(tz)
        end, most = moment(now, "now"), check_whole(limit, "limit", 1, 10_000)
        back = check_whole(weeks, "weeks", 2, 1_000)
        with self._catalog.read("looking for trends") as reader:
            return trends(reader, end, back, zone)[:most]

    def related(
        self,
        id: str,
        *,
        min_correlation: float = 0.7,
        sort_by: Literal["frequency", "correlation"] = "frequency",
        limit: int | None = None,
    ) -> list[Related]:
        """Return the patterns that are used in the same sessions.

        Args:
            id: Of a pattern.
            min_correlation: Least cosine of co-occurrence over sessions, 0..1.
            sort_by: ``frequency``, sessions with both; or ``correlation``.
            limit: At most so many.

        Raises:
            NotFoundError: There is none of this id.
        """
        from lamina.patterns.related import related

        least = check_number(min_correlation, "min_correlation", 0, 1)
        check_choice(sort_by, "sort_by", ("frequency", "correlation"))
        most = None if limit is None else check_whole(limit, "limit", 1, 2**31)
        with self._catalog.read("looking for related patterns") as reader:
            row = row_of(reader, id)
            return related(reader, row[0], min_correlation=least, sort_by=sort_by, limit=most)

    def files_with(self, path: str | os.PathLike[str], *, limit: int | None = None) -> list[FileLink]:
        """Return the files that are used together with a file, those with most uses together first."""
        from lamina.patterns.related import files_with

        name = check_path(path)
        most = None if limit is None else check_whole(limit, "limit", 1, 2**31)
        with self._catalog.read("looking for files") as reader:
            return files_with(reader, name, most)

    def file_graph(self, *, min_uses: int = 1) -> list[tuple[str, str, int, float]]:
        """Return all pairs of files that are used together: ``(file, file, uses together, success rate)``."""
        from lamina.patterns.related import file_edges

        least = check_whole(min_uses, "min_uses", 1, 2**31)
        with self._catalog.read("looking for files") as reader:
            return [(one, other, uses, good / uses) for one, other, uses, good in file_edges(reader, min_uses=least)]

    def suggest(self, last_steps: Sequence[str], *, limit: int = 5) -> list[Suggestion]:
        """Return the steps that followed the last ones most often, with their probability, support and success rate.

        A step that fails more often than not (the upper end of its rate's 95 % interval is below 0.5) comes after the
        others, however often it followed.

        Args:
            last_steps: The last steps, the latest at the end; in the words of the patterns.
            limit: At most so many.
        """
        from lamina.patterns.suggest import suggest

        steps = check_strings(last_steps, "last_steps", least=1)
        most = check_whole(limit, "limit", 1, 1_000)
        with self._catalog.read("suggesting a step") as reader:
            return suggest(reader, steps, most)

    def fitting(self, question: str, *, limit: int = 5) -> list[Pattern]:
        """Return the patterns that fit a question in words; what ``recall`` includes."""
        from lamina.patterns.fitting import fitting

        text = check_text(question, "question")
        most = check_whole(limit, "limit", 1, 1_000)
        with self._catalog.read("looking for patterns") as reader:
            return fitting(reader, text, most)

    def stats(self) -> dict[str, Any]:
        """Return counts: patterns by type, origin and state, uses, successes, sessions, files, tools."""
        with self._catalog.read("counting patterns") as reader:
            db = reader.db
            types = db.execute(
                "SELECT n.value, count(*), sum(p.uses), sum(p.successes) FROM pattern p JOIN name n ON n.id = p.type "
                "WHERE p.state = 0 GROUP BY p.type ORDER BY count(*) DESC, n.value"
            ).fetchall()
            origins = dict(
                db.execute("SELECT origin, count(*) FROM pattern WHERE state = 0 GROUP BY origin").fetchall()
            )
            gone = dict(
                db.execute("SELECT state, count(*) FROM pattern WHERE prune IS NOT NULL GROUP BY state").fetchall()
            )
            ((rate, newest),) = db.execute(
                "SELECT avg(success_rate), max(last_used) FROM pattern WHERE state = 0"
            ).fetchall()
            ((files,),) = db.execute("SELECT count(DISTINCT name) FROM pattern_link").fetchall()
        return {
            "patterns": sum(row[1] for row in types),
            "uses": sum(row[2] for row in types),
            "successes": sum(row[3] for row in types),
            "mean_success_rate": rate,
            "by_type": {row[0]: row[1] for row in types},
            "by_origin": {name: origins.get(place, 0) for place, name in enumerate(ORIGINS)},
            "removed": gone.get(1, 0),
            "merged": gone.get(2, 0),
            "files_and_tools": files,
            "last_used": from_micros(newest).isoformat() if newest else None,
        }

    # --- learning ----------------------------------------------------------------------------------------------------

    def learn(
        self,
        sessions: Iterable[str] | None = None,
        *,
        min_support: int | None = None,
        min_success_rate: float = 0.5,
        max_length: int = 4,
        max_gap: int = 1,
        limit: int = 300,
        progress: Callable[[int, int], None] | None = None,
    ) -> LearnReport:
        """Find what worked in sessions: sequences of steps and of tools, files edited together, errors and fixes.

        Only sessions that are new or have changed are read; their evidence is added to what was learned before, however
        rare that has become. Every use names its session, which :meth:`explain` lists. What was removed or deleted is
        not found again.

        Args:
            sessions: Read only these of the new ones; all when None.
            min_support: Sessions that something must be seen in; 3, or one in a hundred sessions where that is more.
            min_success_rate: Share of these sessions in which it must have worked, 0..1.
            max_length: Steps of the longest sequence, 2 to 6.
            max_gap: Other steps that may stand between two of a sequence.
            limit: New patterns of each kind, at most; those beyond are counted in ``left_out``.
            progress: Called with the sessions done and the sessions there are.

        Raises:
            InvalidInputError: A setting that makes no sense, or ``sessions`` that are no list of ids.
            NotFoundError: A session that was named is not there.
        """
        from lamina.patterns.learn import learn

        report = learn(
            self._catalog,
            sessions,
            min_support=min_support,
            min_success_rate=min_success_rate,
            max_length=max_length,
            max_gap=max_gap,
            limit=limit,
            progress=progress,
        )
        self._refresh()
        return report

    def prune(
        self,
        dry_run: bool = False,  # noqa: FBT001, FBT002 - its name is the contract
        *,
        max_upper: float = 0.3,
        unused_days: float = 90,
        min_effectiveness: float = 0.5,
        similarity: float = 0.85,
        archive_days: float | None = 30,
        archive_max_quality: float | None = 0.5,
    ) -> Plan:
        """Remove ineffective patterns, merge near-duplicates, archive old sessions; :meth:`undo` takes it back.

        Args:
            dry_run: Only return the plan.
            max_upper: Remove where the upper end of the success rate's 95 % interval is below this.
            unused_days: Remove what was not used for so many days and
            min_effectiveness: has less effectiveness than this.
            similarity: Merge what is more alike than this, 0..1.
            archive_days: Archive sessions whose last event is so many days ago; None for none.
            archive_max_quality: And whose quality is known and at most this; None for any.
        """
        from lamina.patterns.prune import prune

        plan = prune(
            self._catalog,
            max_upper=check_number(max_upper, "max_upper", 0, 1),
            unused_days=check_number(unused_days, "unused_days", 0, 1e6),
            min_effectiveness=check_number(min_effectiveness, "min_effectiveness", 0, 1),
            similarity=check_number(similarity, "similarity", 0, 1),
            archive_days=None if archive_days is None else check_number(archive_days, "archive_days", 0, 1e6),
            archive_max_quality=archive_max_quality,
            dry_run=dry_run,
        )
        if not dry_run:
            self._refresh()
        return plan

    def undo(self, id: str | None = None) -> Plan:
        """Take a pruning back, within 30 days.

        Args:
            id: Of the pruning, as its plan says; the last one when None.

        Raises:
            NotFoundError: There is none.
            ConflictError: It is too long ago, or undone already.
        """
        from lamina.patterns.prune import undo

        plan = undo(self._catalog, id)
        self._refresh()
        return plan

    # --- files -------------------------------------------------------------------------------------------------------

    def export(self, path: str | os.PathLike[str], *, format: str | None = None, replace: bool = False) -> Path:
        """Write all patterns with all of their uses to a file, or to a folder of markdown.

        Args:
            path: Where.
            format: ``json``, ``jsonl``, ``csv``, ``markdown`` or ``graphml`` (the graph of files); by the name when
                None.
            replace: Replace what is there.

        Returns:
            Where it is.

        Raises:
            AlreadyExistsError: It is there, and ``replace`` is False.
            InvalidInputError: The name means none of the forms.
        """
        from lamina.patterns.exchange import export_to

        return export_to(self._catalog, check_place(path), format, replace=replace)

    def exported(self, format: str = "json") -> Iterator[bytes]:
        """Yield the bytes of an export that is one file."""
        from lamina.patterns.exchange import exported

        yield from exported(self._catalog, format)

    def import_file(self, path: str | os.PathLike[str], *, format: str | None = None) -> PatternImport:
        """Read what :meth:`export` wrote, or the aircher file store; uses that are there are not added again.

        Args:
            path: A file, a folder of markdown, or ``.aircher/memory``.
            format: ``json``, ``jsonl``, ``csv``, ``markdown`` or ``aircher``; by name and content when None.

        Raises:
            NotFoundError: It is not there.
            InvalidInputError: It is none of the forms.
        """
        from lamina.patterns.exchange import import_from

        try:
            return import_from(self._catalog, check_place(path), format)
        finally:
            self._refresh()

    def migrate(self, folder: str | os.PathLike[str]) -> PatternImport:
        """Import the aircher file store, then read it again and compare; see ``PatternImport.verified``."""
        return self.import_file(folder, format="aircher")

    def mirror(self, folder: str | os.PathLike[str]) -> Mirror:
        """Keep a folder of markdown in step with the patterns, for as long as this handle is open.

        Every change through this handle is written to the folder as well, after the catalog has it. The change is made
        then, so what keeps it from the folder is not raised but told in ``problem`` of what this returns. What other
        processes change is brought along by ``refresh()`` of that, or by mirroring again.

        Args:
            folder: Where; made if need be. Files in it that are no pattern's are left alone.
        """
        from lamina.patterns.mirror import Mirror

        mirror = Mirror(self._catalog, check_place(folder, "folder"))
        mirror.refresh()
        self._mirror = mirror
        return mirror

    def _follow(self, ids: Iterable[str]) -> None:
        if self._mirror is not None:
            self._mirror.follow(ids)

    def _refresh(self) -> None:
        if self._mirror is not None:
            self._mirror.catch_up()
