"""The variants of a stored result side by side: mean and spread over the seeds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from detlearn.results.stored import Result


@dataclass(frozen=True)
class Comparison:
    """A small table, drawn by a notebook and printed elsewhere.

    Attributes:
        keys: the columns, for instance "ap50".
        rows: variant → key → one number for each seed.
    """

    keys: tuple[str, ...]
    rows: dict[str, dict[str, list[float]]]

    def __str__(self) -> str:
        table = self._table()
        widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
            for row in table
        ]
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_markdown_(self) -> str:
        header, *rows = self._table()
        # A narrow column divides "0.823 ± 0.032" before the sign, and only there.
        lines = ["| " + " | ".join(row).replace("± ", "±\u00a0") + " |" for row in rows]
        alignment = "|:--|" + "--:|" * (len(header) - 1)
        return "\n".join(["| " + " | ".join(header) + " |", alignment, *lines])

    def _table(self) -> list[list[str]]:
        """Return the header and one row a variant, as texts."""
        table = [["variant", *self.keys, "seeds"]]
        for variant, columns in self.rows.items():
            cells = [_mean_and_spread(columns[key]) for key in self.keys]
            seeds = len(columns[self.keys[0]])
            table.append([variant, *cells, str(seeds)])
        return table


def compare(
    result: Result,
    keys: Sequence[str] = ("ap", "ap50", "ap75"),
    variants: Sequence[str] | None = None,
) -> Comparison:
    """Compare the variants of a stored result.

    Args:
        result: from `detlearn.results.load`.
        keys: which numbers of the runs.
        variants: which of them and in which order; all by default.

    Returns:
        A table of "mean ± standard deviation" over the seeds (of these runs: the squares are
        divided by their number, not by one less); the mean alone where there is one seed.

    Raises:
        ValueError: if a variant or a number is not there; the message lists those that are.
    """
    chosen = result.variants() if variants is None else variants
    rows = {variant: {key: result.numbers(variant, key) for key in keys} for variant in chosen}
    return Comparison(tuple(keys), rows)


def _mean_and_spread(numbers: Sequence[float]) -> str:
    mean = f"{sum(numbers) / len(numbers):.3f}"
    if len(numbers) == 1:
        return mean
    return f"{mean} ± {statistics.pstdev(numbers):.3f}"
