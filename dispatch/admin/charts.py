"""The charts of throughput: bars that the server draws beside the numbers of a table, from the counts of minutes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence

from django.utils.functional import Promise
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.timezone import localtime
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from dispatch import throughput
from dispatch.admin import widgets
from dispatch.admin.links import Link
from dispatch.admin.tables import Table
from dispatch.core.sentences import duration
from dispatch.heartbeats import Count
from dispatch.models import MinuteCount
from dispatch.throughput import Series

Outcome = MinuteCount.Outcome
ALWAYS_SHOWN = (Outcome.PUBLISHED, Outcome.FAILED, Outcome.DEAD)
#: Between what a mean time is told, and of which outcomes.
TIMES = (
    (_("from due to published, on average"), (Outcome.PUBLISHED,)),
    (_("from published to result, on average"), (Outcome.TASK_SUCCEEDED, Outcome.TASK_FAILED)),
)
COLUMNS = (_("what"), _("by the minute"), _("last minute"), _("last hour"), _("by the hour"), _("last day"))
#: The width of a bar with its gap, and the height of the highest, in a chart's own units; what is not 0 is seen.
STEP, HEIGHT, LEAST = 4, 30, 2


def throughput_table(using: str) -> Table:
    """Return what became of messages in the last hour and day, and how many came; no rows, if nothing did."""
    hour, day = throughput.of_hour_and_day(using)
    came, total = throughput.enqueued(using, hour.starts)
    rows = [_enqueued(hour, came, total), *_rows(hour, day)] if day.counts or total else []
    empty = _("Nothing was published in the last day. What a relay publishes from now on is counted here.")
    return Table(_("Throughput"), COLUMNS, rows, empty=empty)


def _enqueued(hour: Series, came: Sequence[Count], total: int) -> list[Link]:
    """Return the row of what was enqueued, which is known of the last hour, or of the part of it that was read."""
    is_cut = total >= throughput.MOST_READ
    cells = (
        capfirst(gettext("enqueued")),
        _bars(hour.starts, came, _value, _number),
        widgets.EMPTY if is_cut and not came[-2].number else _number(came[-2]),
        f"{widgets.number(total)}{'+' * is_cut}",
    )
    return [Link(cell) for cell in (*cells, widgets.EMPTY, widgets.EMPTY)]


def _rows(hour: Series, day: Series) -> Iterator[list[Link]]:
    for outcome in Outcome:
        if outcome in ALWAYS_SHOWN or outcome in day.counts:
            yield _row(outcome.label, hour, day, [outcome], _value, _number)
    for label, outcomes in TIMES:
        if not day.counts.keys().isdisjoint(outcomes):
            yield _row(label, hour, day, outcomes, lambda count: count.mean, _mean)


def _row(
    label: str | Promise,
    hour: Series,
    day: Series,
    outcomes: Sequence[str],
    value: Callable[[Count], float],
    text: Callable[[Count], str],
) -> list[Link]:
    minutes, hours = hour.of(*outcomes), day.of(*outcomes)
    cells = (
        capfirst(str(label)),
        _bars(hour.starts, minutes, value, text),
        text(minutes[-2]),  # the last one that is over
        text(sum(minutes, Count())),
        _bars(day.starts, hours, value, text),
        text(sum(hours, Count())),
    )
    return [Link(cell) for cell in cells]


def _bars(
    starts: Sequence[dt.datetime],
    counts: Sequence[Count],
    value: Callable[[Count], float],
    text: Callable[[Count], str],
) -> SafeString:
    """Return a bar for each count, with its time and text as a tooltip, and the text of the highest below."""
    highest = max(counts, key=value)
    drawn = (
        (at * STEP, HEIGHT - height, STEP - 1, height, f"{localtime(start):%H:%M}: {text(count)}")
        for at, (start, count) in enumerate(zip(starts, counts, strict=True))
        if value(count) and (height := max(LEAST, round(HEIGHT * value(count) / value(highest))))
    )
    return format_html(
        '<svg class="dispatch-bars" viewBox="0 0 {width} {height}" preserveAspectRatio="none" role="img" '
        'aria-label="{label}">{bars}<path d="M0 {height}h{width}"/></svg><small class="dispatch-quiet">{label}</small>',
        width=len(counts) * STEP,
        height=HEIGHT,
        label=gettext("up to %(highest)s") % {"highest": text(highest)},
        bars=format_html_join(
            "", '<rect x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>', drawn
        ),
    )


def _value(count: Count) -> int:
    return count.number


def _number(count: Count) -> str:
    return widgets.number(count.number)


def _mean(count: Count) -> str:
    if not count.number:
        return widgets.EMPTY
    return duration(count.mean) if count.mean >= 1 else f"{widgets.number(count.mean * 1_000, 0)} ms"
