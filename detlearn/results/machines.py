"""One table, one machine: what two machines measured in seconds or bytes does not compare."""

from __future__ import annotations

from collections.abc import Sequence

from detlearn.results.stored import Result


def one_machine(results: Sequence[Result]) -> str:
    """Return the machine on which all runs of some results were made.

    Args:
        results: whose numbers stand in one table.

    Returns:
        The machine, in words.

    Raises:
        ValueError: if there are several; the message says which result was made where.
    """
    where = {result["name"]: result.hardware() for result in results}
    machines = {machine for found in where.values() for machine in found}
    if len(machines) != 1:
        listed = "; ".join(f"{name} on {' and '.join(found)}" for name, found in where.items())
        raise ValueError(
            f"one table must not mix machines, but there is {listed or 'no result'}: run "
            "`make comparison` on one machine, after moving the results of the others away"
        )
    return machines.pop()
