"""Patterns, trends and sessions for people: one line each, sparklines, bars."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from lamina.cli.following import counted
from lamina.cli.paint import Paint, clean, columns, one_line
from lamina.cli.render import local, when

if TYPE_CHECKING:
    from lamina.patterns.reports import LearnReport, Plan, Suggestion, Trend, Week
    from lamina.patterns.values import Pattern
    from lamina.sessions.values import Call, Event, Session

__all__ = [
    "bar",
    "event_lines",
    "learn_lines",
    "pattern_lines",
    "pattern_table",
    "plan_lines",
    "session_line",
    "session_lines",
    "short",
    "sparkline",
    "suggestion_lines",
    "trend_lines",
    "week_lines",
]

_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"
_EDITORS: Final = frozenset(("str_replace_editor", "str_replace_based_edit_tool"))
"""Tools whose command says which of their own things they do; the file says more."""
TREND_WEEKS: Final = 12
"""Weeks of a trend that are drawn."""
ID_COLUMNS: Final = 11
"""Of an id that are shown: 40 of its 80 bits tell a hundred thousand patterns apart."""
_AGES: Final = (
    (60, 1, "s"),
    (3600, 60, "m"),
    (86_400, 3600, "h"),
    (100 * 86_400, 86_400, "d"),
    (2 * 365 * 86_400, 30 * 86_400, "mo"),
    (float("inf"), 365 * 86_400, "y"),
)


def sparkline(values: Sequence[float | None], most: float | None = None) -> str:
    """One character for each value, its height the share of the largest; a blank where there is none."""
    known = [value for value in values if value is not None]
    top = most if most is not None else max(known, default=0)
    return "".join(
        " " if value is None else _BLOCKS[min(7, int(value / top * 8))] if top > 0 else _BLOCKS[0] for value in values
    )


def bar(share: float, width: int) -> str:
    """A bar of at most so many columns, in eighths."""
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    return "█" * (eighths // 8) + (_EIGHTHS[eighths % 8].strip())


def pattern_table(
    patterns: Sequence[Pattern], paint: Paint, width: int, lead: Sequence[str] = (), heading: str = ""
) -> Iterator[str]:
    """Patterns a line each under a heading: id, success rate, uses, age, type, steps.

    Args:
        patterns: In order.
        paint: Of the stream.
        width: Columns of a line.
        lead: What stands before each line, all of one length.
        heading: Of ``lead``.
    """
    kinds = min(21, max((columns(clean(pattern.type)) for pattern in patterns), default=4))
    kinds = max(4, min(kinds, width - 58 - len(heading)))
    if patterns:
        yield paint.dim(f"{heading}{'pattern':<{ID_COLUMNS}}  worked   uses  used  {'type':<{kinds}}  steps")
    for number, pattern in enumerate(patterns):
        rate = f"{pattern.success_rate:6.0%}" if pattern.uses else "     -"
        age = f"{_age(pattern.last_used):>4}"
        steps = one_line(" → ".join(pattern.steps), max(20, width - ID_COLUMNS - 25 - kinds - len(heading)))
        color = paint.green if pattern.low >= 0.5 else paint.red if pattern.uses and pattern.high < 0.5 else paint.dim
        kind = one_line(pattern.type, kinds)
        yield (
            f"{lead[number] if lead else ''}{paint.cyan(short(pattern.id))}  {color(rate)} {_count(pattern.uses):>6}  "
            f"{paint.dim(age)}  {kind}{' ' * (kinds - columns(kind))}  {steps}"
        )


def short(id: str) -> str:
    """The beginning of a pattern's id, which is enough to name it."""
    return id[:ID_COLUMNS]


def _count(number: int) -> str:
    return f"{number:,}" if number < 100_000 else f"{number / 1000:.0f}k" if number < 10_000_000 else f"{number:.0e}"


def _age(moment: datetime | None) -> str:
    """How long ago, in at most four columns."""
    if moment is None:
        return "-"
    seconds = (datetime.now(UTC) - moment).total_seconds()
    length = abs(seconds)
    for limit, unit, name in _AGES:
        if length < limit:
            return f"{'+' if seconds < -1 else ''}{int(length // unit)}{name}"
    raise AssertionError("the last step has no limit")


def pattern_lines(pattern: Pattern, paint: Paint, width: int) -> Iterator[str]:
    """A whole pattern."""
    yield f"{paint.bold(clean(pattern.type))}  {paint.cyan(pattern.id)}"
    if pattern.description:
        yield clean(pattern.description)
    for number, step in enumerate(pattern.steps, 1):
        yield f"  {number}. {clean(step)}"
    sure = f"{pattern.low:.0%} to {pattern.high:.0%} with 95 % confidence"
    worked = f"{pattern.successes:,} of {pattern.uses:,} times; {sure}"
    rows = [
        ("worked", worked),
        ("effectiveness", f"{pattern.effectiveness:.2f}  {bar(pattern.effectiveness, 20)}"),
        ("last used", when(pattern.last_used) if pattern.last_used else "never"),
        ("sessions", f"{pattern.sessions:,}"),
        ("files", one_line(", ".join(pattern.files), width - 16)),
        ("tools", one_line(", ".join(pattern.tools), width - 16)),
        ("origin", pattern.origin),
    ]
    for name, value in rows:
        if value:
            yield f"{paint.dim(f'{name:<14}')}{value}"


def week_lines(weeks: Sequence[Week], tz: str, paint: Paint, width: int, most: int = 16) -> Iterator[str]:
    """The last weeks as bars, with their success rates; says how many there are."""
    shown = weeks[-most:]
    if len(shown) < len(weeks):
        yield f"weeks ({tz}), the last {len(shown)} of {len(weeks):,}"
    elif shown:
        yield f"weeks ({tz})"
    top = max((week.count for week in shown), default=0)
    for week in shown:
        length = max(10, min(40, width - 34))
        rate = "   -" if week.success_rate is None else f"{week.success_rate:4.0%}"
        drawn = bar(week.count / top if top else 0.0, length)
        yield f"  {week.start.date().isoformat()} {rate} {week.count:6,}  {paint.green(drawn)}"


def trend_lines(trends: Sequence[Trend], steps: Mapping[str, str], paint: Paint, width: int) -> Iterator[str]:
    """Trends a line each under a heading: direction, weekly success rates, slope, confidence."""
    marks = {"rising": paint.green("▲"), "falling": paint.red("▼"), "steady": "=", "unknown": "?"}
    if trends:
        yield paint.dim(f"  {'weeks':<{TREND_WEEKS}}  points/week  sure  {'pattern':<{ID_COLUMNS}}  steps")
    for trend in trends:
        rates = sparkline([week.success_rate for week in trend.weeks[-TREND_WEEKS:]], 1.0)
        what = one_line(steps[trend.id], max(20, width - TREND_WEEKS - ID_COLUMNS - 25))
        yield (
            f"{marks[trend.direction]} {rates:<{TREND_WEEKS}}  {trend.slope * 100:+11.1f}  {trend.confidence:4.0%}  "
            f"{paint.cyan(short(trend.id))}  {what}"
        )


def suggestion_lines(found: Sequence[Suggestion], paint: Paint, width: int) -> Iterator[str]:
    """What may come next, under a heading; red is what fails more often than not."""
    if found:
        yield one_line("after " + " → ".join(found[0].after), width)
        yield paint.dim("share   uses  worked  next step")
    for entry in found:
        color = paint.red if entry.high < 0.5 else paint.green if entry.success_rate >= 0.5 else paint.dim
        fails = "  (fails mostly)" if entry.high < 0.5 else ""
        step = one_line(entry.step, max(20, width - 22 - len(fails)))
        rate = color(f"{entry.success_rate:6.0%}")
        yield f"{entry.probability:5.0%} {_count(entry.support):>6}  {rate}  {paint.bold(step)}{fails}"


def learn_lines(report: LearnReport) -> Iterator[str]:
    """What learning did."""
    found = ", ".join(_kinds(kind, count) for kind, count in report.found.items() if count) or "nothing"
    mute = f" ({report.without_calls:,} without calls)" if report.without_calls else ""
    yield (
        f"learned from {report.new_sessions:,} new of {counted(report.sessions, 'session')}{mute}: "
        f"{counted(len(report.patterns), 'new pattern')}, {report.updated:,} updated, {counted(report.uses, 'use')}"
    )
    yield f"frequent in {counted(report.min_support, 'session')} or more: {found}"
    for kind, count in report.left_out.items():
        yield f"left out: {_kinds(kind, count)}"


def _kinds(kind: str, count: int) -> str:
    """A number of ``steps``, ``tools``, ``files``, ``fixes`` or ``files of one session``."""
    first, space, rest = kind.partition(" ")
    return counted(count, {"fixes": "fix"}.get(first, first.removesuffix("s"))) + space + rest


def plan_lines(plan: Plan, paint: Paint, width: int, most: int = 20) -> Iterator[str]:
    """What pruning does or did."""
    for entry in plan.remove[:most]:
        yield f"remove {paint.cyan(short(entry.id))}  {one_line(entry.reason, width - ID_COLUMNS - 9)}"
    for pair in plan.merge[:most]:
        into = paint.cyan(short(pair.into))
        yield f"merge  {paint.cyan(short(pair.id))}  into {into} (alike by {pair.similarity:.0%})"
    for session in plan.archive[:most]:
        yield f"archive session {paint.cyan(clean(session))}"
    more = sum(max(0, len(found) - most) for found in (plan.remove, plan.merge, plan.archive))
    if more:
        yield f"and {more:,} more"


def session_line(session: Session, paint: Paint, width: int) -> str:
    """A session on one line: id, begin, outcome, calls, title."""
    outcome = {"success": paint.green("ok  "), "failure": paint.red("fail"), None: "    "}[session.outcome]
    begun, id = local(session.started_at), clean(session.id)
    calls = counted(session.calls, "call")
    errors = f", {counted(session.errors, 'error')}" if session.errors else ""
    rest = [calls + errors, "archived" if session.archived else "", session.title or session.project or ""]
    line = one_line(" · ".join(part for part in rest if part), max(10, width - columns(id) - len(begun) - 9))
    return f"{paint.cyan(id)}  {paint.dim(begun)}  {outcome} {line}"


def session_lines(session: Session, paint: Paint) -> Iterator[str]:
    """A whole session without its events."""
    rows = [
        ("id", paint.cyan(clean(session.id))),
        ("title", clean(session.title or "")),
        ("agent", clean(session.agent or "")),
        ("project", clean(session.project or "")),
        ("source", clean(session.source or "")),
        ("started", when(session.started_at)),
        ("last event", when(session.last_at)),
        ("ended", "" if session.ended_at is None else when(session.ended_at)),
        ("outcome", session.outcome or ""),
        ("quality", "" if session.quality is None else f"{session.quality:.2f}"),
        ("events", ", ".join(counted(getattr(session, f"{what}s"), what) for what in ("turn", "call", "error"))),
    ]
    for name, value in rows:
        if value:
            yield f"{paint.dim(f'{name:<12}')}{value}"


def event_lines(event: Event, paint: Paint, width: int) -> str:
    """A turn or call on one line."""
    from lamina.sessions.values import Turn

    if isinstance(event, Turn):
        role = one_line(event.role, 20)
        return f"{event.position:5} {paint.bold(role)}: {one_line(event.text, max(10, width - 8 - columns(role)))}"
    mark = {True: paint.green("ok"), False: paint.red("--"), None: "  "}[event.ok]
    tool, step = one_line(event.tool, 24), one_line(event.step, 24)
    room = max(10, width - 13 - columns(tool) - columns(step))
    what = one_line(_called(event), room if event.error is None else max(10, room * 2 // 3))
    if event.error is not None:
        what = one_line(f"{what}: {event.error}" if what else event.error, room)
    return f"{event.position:5} {mark} {paint.cyan(tool)} [{step}] {what}"


def _called(call: Call) -> str:
    """What a tool was called with, as it is stored: the command, else the files, else all of it."""
    given = call.arguments
    command = given.get("command", given.get("cmd", given.get("script"))) if isinstance(given, Mapping) else given
    if isinstance(command, (list, tuple)):
        command = " ".join(map(str, command))
    if isinstance(command, str) and call.tool.strip().lower() not in _EDITORS:
        return command
    return ", ".join(call.files) or str(given or "")
