"""Patterns, trends and sessions for people: one line each, sparklines, bars."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from lamina.cli.paint import Paint, clean, columns, one_line
from lamina.cli.render import ago, local, when

if TYPE_CHECKING:
    from lamina.patterns.reports import LearnReport, Plan, Trend, Week
    from lamina.patterns.values import Pattern
    from lamina.sessions.values import Event, Session

__all__ = [
    "bar",
    "event_lines",
    "learn_lines",
    "pattern_line",
    "pattern_lines",
    "plan_lines",
    "session_line",
    "session_lines",
    "sparkline",
    "trend_line",
    "week_lines",
]

_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"


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


def pattern_line(pattern: Pattern, paint: Paint, width: int) -> str:
    """A pattern on one line: id, success rate, uses, age, steps."""
    rate = f"{pattern.success_rate:4.0%}" if pattern.uses else "   -"
    used = ago(pattern.last_used) if pattern.last_used else "never"
    head = f"{pattern.id}  {rate} {pattern.uses:6,}x  {used:>14}  "
    steps = one_line(" → ".join(pattern.steps), max(20, width - columns(head)))
    color = paint.green if pattern.low >= 0.5 else paint.red if pattern.uses and pattern.high < 0.5 else paint.dim
    return f"{paint.cyan(pattern.id)}  {color(rate)} {pattern.uses:6,}x  {paint.dim(f'{used:>14}')}  {steps}"


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


def week_lines(weeks: Sequence[Week], paint: Paint, width: int, most: int = 16) -> Iterator[str]:
    """The last weeks as bars, with their successes."""
    shown = weeks[-most:]
    top = max((week.count for week in shown), default=0)
    for week in shown:
        length = max(10, min(40, width - 34))
        rate = "   -" if week.success_rate is None else f"{week.success_rate:4.0%}"
        drawn = bar(week.count / top if top else 0.0, length)
        yield f"  {week.start.date().isoformat()} {rate} {week.count:6,}  {paint.green(drawn)}"


def trend_line(trend: Trend, steps: str, paint: Paint, width: int) -> str:
    """A trend on one line: direction, slope, confidence, weekly success rates."""
    marks = {"rising": paint.green("▲"), "falling": paint.red("▼"), "steady": "=", "unknown": "?"}
    rates = sparkline([week.success_rate for week in trend.weeks[-12:]], 1.0)
    slope = f"{trend.slope * 100:+5.1f} points/week ({trend.confidence:.0%})"
    room = max(20, width - 53)
    return f"{marks[trend.direction]} {rates:<12} {slope:<26} {paint.cyan(trend.id)}  {one_line(steps, room)}"


def learn_lines(report: LearnReport) -> Iterator[str]:
    """What learning did."""
    found = ", ".join(f"{count:,} {kind}" for kind, count in report.found.items() if count) or "nothing"
    yield (
        f"learned from {report.new_sessions:,} new of {report.sessions:,} sessions: "
        f"{len(report.patterns):,} new patterns, {report.updated:,} updated, {report.uses:,} uses"
    )
    yield f"frequent in {report.min_support:,} sessions or more: {found}"
    for kind, count in report.left_out.items():
        yield f"left out: {count:,} {kind}"


def plan_lines(plan: Plan, paint: Paint, most: int = 20) -> Iterator[str]:
    """What pruning does or did."""
    for entry in plan.remove[:most]:
        yield f"remove {paint.cyan(entry.id)}  {entry.reason}"
    for pair in plan.merge[:most]:
        yield f"merge  {paint.cyan(pair.id)}  into {paint.cyan(pair.into)} (alike by {pair.similarity:.0%})"
    for session in plan.archive[:most]:
        yield f"archive session {paint.cyan(clean(session))}"
    more = sum(max(0, len(found) - most) for found in (plan.remove, plan.merge, plan.archive))
    if more:
        yield f"and {more:,} more"


def session_line(session: Session, paint: Paint, width: int) -> str:
    """A session on one line."""
    outcome = {"success": paint.green("ok  "), "failure": paint.red("fail"), None: "    "}[session.outcome]
    head = f"{local(session.started_at)}  {session.calls:5,} calls {session.errors:4,} errors  "
    title = one_line(session.title or session.project or "", max(10, width - len(head) - len(session.id) - 8))
    packed = paint.dim(" (archived)") if session.archived else ""
    return (
        f"{paint.dim(local(session.started_at))}  {outcome} {head[18:]}{paint.cyan(clean(session.id))}  {title}{packed}"
    )


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
        ("events", f"{session.turns:,} turns, {session.calls:,} calls, {session.errors:,} errors"),
    ]
    for name, value in rows:
        if value:
            yield f"{paint.dim(f'{name:<12}')}{value}"


def event_lines(event: Event, paint: Paint, width: int) -> str:
    """A turn or call on one line."""
    from lamina.sessions.values import Turn

    if isinstance(event, Turn):
        return f"{event.position:5} {paint.bold(clean(event.role))}: {one_line(event.text, width - 20)}"
    mark = {True: paint.green("ok"), False: paint.red("--"), None: "  "}[event.ok]
    what = event.error or ", ".join(event.files) or str(event.arguments or "")
    return (
        f"{event.position:5} {mark} {paint.cyan(clean(event.tool))} [{clean(event.step)}] {one_line(what, width - 40)}"
    )
