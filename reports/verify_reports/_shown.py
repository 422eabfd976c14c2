"""A witness made ready for display, and its form as lines of text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from verify_reports._text import counted, shorten

MOST_ROWS = 12
CUT = "A number that ends in … is cut here; the exact one is stored with the certificate."


@dataclass(frozen=True)
class Shown:
    """A witness to be shown: a title, how to check it, and a table of named columns.

    ``says`` are sentences with the numbers of the witness, ``facts`` named parts as they are.
    """

    title: str
    check: str
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    says: tuple[str, ...] = ()
    hidden: int = 0
    by_hand: bool = False

    def lines(self, *, width: int) -> Iterator[str]:
        """Yield the witness as lines of text, the table with aligned columns."""
        if self.check:
            yield self.check
        yield from self.says
        for name, text in self.facts:
            yield f"{name} = {shorten(text, max(20, width - len(name) - 3))}"
        if self.rows:
            table = [self.columns, *self.rows]
            sizes = [max(len(row[k]) for row in table) for k in range(len(self.columns))]
            for row in table:
                yield "  ".join(text.rjust(size) for text, size in zip(row, sizes, strict=True))
        if self.hidden:
            yield f"… {counted(self.hidden, 'more coordinate')}, stored with the certificate"
