"""Writes the goals of ``latest.json`` as a table into README.md, between its two marks."""

from __future__ import annotations

import json
from typing import Any

from harness import RESULTS, ROOT

BEGIN, END = "<!-- figures: make bench -->", "<!-- end of the figures -->"
HEAD = "| goal | measured | | wanted | |\n|---|---|---|---|---|\n"


def main() -> None:
    readme = ROOT / "README.md"
    before, _, rest = readme.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    goals = json.loads((RESULTS / "latest.json").read_text())
    rows = "".join(_row(name, goals[name]) for name in sorted(goals, key=_order))
    readme.write_text(f"{before}{BEGIN}\n{HEAD}{rows}{END}{after}")


def _row(name: str, goal: dict[str, Any]) -> str:
    low, high = (_number(each) for each in goal["spread"])
    unit = goal["unit"]
    where = f", {goal['worst']}" if "worst" in goal else ""
    sign = "≤" if goal["most"] else "≥"
    verdict = "holds" if goal["holds"] else "**missed**"
    return (
        f"| {name} | {goal['text']}{where} | {_number(goal['value'])} {unit} ({low} to {high}) "
        f"| {sign} {goal['goal']:g} {unit} | {verdict} |\n"
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _order(name: str) -> tuple[int, str]:
    number, _, rest = name.removeprefix("P").partition(" ")
    return int(number), rest


if __name__ == "__main__":
    main()
