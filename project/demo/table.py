"""The live table: redrawn on a terminal, one line per change elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from textwrap import shorten

from rich import box
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from project.demo.scenario import Row, Scenario

TIMEOUT = 60
INTERVAL = 0.2

OUTCOME = 150  # characters; the plain lines and the admin show all

COLOURS = {None: "yellow", True: "green", False: "red"}


def follow(scenario: Scenario, console: Console, check: Callable[[], None]) -> None:
    """Show the rows until all are settled or a minute has passed; `check` raises if a process has died."""
    deadline = time.monotonic() + TIMEOUT
    show = _live if console.is_terminal else _plain
    show(scenario, console, lambda: _advance(scenario, check) and time.monotonic() < deadline)


def _advance(scenario: Scenario, check: Callable[[], None]) -> bool:
    """Look again; tell whether there is more to wait for."""
    check()
    scenario.refresh()
    return not scenario.settled


def _live(scenario: Scenario, console: Console, advance: Callable[[], bool]) -> None:
    with Live(_table(scenario.rows), console=console, auto_refresh=False) as live:
        more = True
        while more:
            more = advance()
            live.update(_table(scenario.rows), refresh=True)
            time.sleep(INTERVAL if more else 0)


def _plain(scenario: Scenario, console: Console, advance: Callable[[], bool]) -> None:
    seen: dict[int, str] = {}
    more = True
    while more:
        more = advance()
        for index, row in enumerate(scenario.rows):
            if (line := _line(row)) != seen.get(index):
                seen[index] = line
                console.print(line, markup=False, soft_wrap=True)
        time.sleep(INTERVAL if more else 0)


def _table(rows: list[Row]) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False, show_lines=True)
    table.add_column("saved, state", no_wrap=True)
    table.add_column("after the save", no_wrap=True)
    table.add_column("task → queue, outcome", overflow="fold")
    for row in rows:
        state = f"[{COLOURS[row.as_expected]}]{row.state}[/]"
        outcome = escape(shorten(row.outcome, OUTCOME))
        table.add_row(f"{row.title}\n{state}", "\n".join(_times(row)), f"{_where(row)}\n{outcome}")
    return table


def _line(row: Row) -> str:
    return "  ".join(
        filter(None, [f"{row.title:<19}", f"{row.state:<11}", _where(row), *_times(row), row.outcome])
    )


def _where(row: Row) -> str:
    task = row.task.removeprefix("worker.tasks.")
    return f"{task} → {row.queue}" if row.queue else task


def _times(row: Row) -> list[str]:
    times = {"published": row.published, "result": row.finished}
    return [f"{name:<9} +{1000 * seconds:,.0f} ms" for name, seconds in times.items() if seconds is not None]
