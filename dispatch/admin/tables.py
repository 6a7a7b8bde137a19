"""The tables of the admin's own pages, each shown by ``dispatch/explained_table.html``."""

from __future__ import annotations

from dataclasses import dataclass, replace

from django.utils.functional import Promise

from dispatch.admin.links import Link

Text = str | Promise


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells; ``more`` says how many rows are left out, ``empty`` what to do where there are none."""

    title: Text
    columns: tuple[Text, ...]
    rows: list[list[Link]]
    more: int = 0
    is_folded: bool = False
    empty: Text = ""

    @property
    def named_cells(self) -> list[list[tuple[Text, Link]]]:
        """The rows, each cell with the name of its column."""
        return [[*zip(self.columns, row, strict=True)] for row in self.rows]

    def without_empty_columns(self) -> Table:
        """Return the table without the columns that say nothing in any row."""
        kept = [
            place for place, _name in enumerate(self.columns) if any(row[place].text for row in self.rows)
        ]
        columns = tuple(self.columns[place] for place in kept)
        return replace(self, columns=columns, rows=[[row[place] for place in kept] for row in self.rows])
