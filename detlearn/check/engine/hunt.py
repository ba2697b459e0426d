"""A hunt: a broken training is given; its cause is chosen from a list, and its cure written.

The cure is a function like any other exercise's. The cause is one more question, the last: so a
grader can ask it where the function is asked, and judge it elsewhere. The verdict joins both, and
does not say which of the other causes it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch

from detlearn.check.engine.cases import Case, Causes
from detlearn.check.engine.diagnosis import Asked
from detlearn.check.engine.display import Verdict
from detlearn.check.engine.exercise import Exercise

NO_CAUSE = "the first argument is one of these, as text: {causes}"


@dataclass(frozen=True, kw_only=True)
class Hunt(Exercise):
    """One broken training; calling it checks a cause and a cure.

    Attributes:
        cause: the right one.
        causes: all to choose from → for each but the right one, what speaks against it: an
            experiment, in a sentence that does not tell the right one.
    """

    cause: str
    causes: Mapping[str, str]

    def __call__(self, cause: str | Callable, cure: Callable | None = None) -> Callable:
        """Check a cause and a cure, print the verdict, and return a function to go on with.

        Args:
            cause: one of `causes`.
            cure: the learner's function.

        Returns:
            The very same function if both are right, else the package's.

        Raises:
            NotSolved: if they are not and ``DETLEARN_STRICT=1`` is set.
        """
        # The two in the other order, or without a cause: the verdict says that one is asked for.
        if callable(cause):
            cause, cure = "" if cure is None else cure, cause

        handed = (cause, cure)
        returned = super().__call__(handed)
        return cure if returned is handed else returned

    def ladder(self, seed: int) -> list[Case]:
        """The cases of a seed, first rung first, and last the question for the cause."""
        names = list(self.causes)
        question = Case(
            "cause",
            (Causes("\n".join(names)),),
            "the cause",
            expected=torch.tensor(names.index(self.cause)),
        )
        return [*super().ladder(seed), question]

    def explain(self, asked: Asked, first: int) -> Verdict:
        """Say what is wrong: the cause, the cure or both."""
        # A cure that was stopped: nothing is known of the cause.
        if len(asked.answers) < len(asked.cases):
            return super().explain(asked, first)

        # Without the question there is no cause to judge: other graders' test cells ask the cure.
        if asked.cases[-1].rung != "cause":
            return super().explain(asked, first)

        *faults, wrong_cause = asked.faults
        about_cause = self._about_cause(asked) if wrong_cause else ""

        if not any(faults) and not self._choice(asked):
            text = "the cure mends it; what is left is to choose the cause"
            return Verdict("todo", self.number, self.name, text, hint=about_cause)
        if not any(faults):
            text = "the cure mends it, but the cause is another"
            return Verdict("wrong", self.number, self.name, text, hint=about_cause)

        # The cure alone, as any exercise.
        cure = replace(
            asked,
            cases=asked.cases[:-1],
            answers=asked.answers[:-1],
            expected=asked.expected[:-1],
            faults=faults,
        )
        verdict = super().explain(cure, first)
        if wrong_cause:
            verdict.text = f"neither the cause nor the cure is right; {verdict.text}"
            verdict.hint = verdict.hint or about_cause
        else:
            verdict.text = f"the cause is right, the cure does not mend it; {verdict.text}"
        return verdict

    def _choice(self, asked: Asked) -> str:
        """The cause that was chosen, or "" if it is none of the list."""
        answer = asked.answers[-1]
        chosen = int(answer.values[0]) if answer.values and answer.values[0].numel() == 1 else -1
        names = list(self.causes)
        return names[chosen] if 0 <= chosen < len(names) else ""

    def _about_cause(self, asked: Asked) -> str:
        """What speaks against the cause that was chosen."""
        if choice := self._choice(asked):
            return self.causes[choice]
        return NO_CAUSE.format(causes=", ".join(f"`{name}`" for name in self.causes))


def handed_in(exercise: Exercise, function: Callable, cause: str | None = None) -> tuple:
    """Return what a check is called with: of a hunt the cause, too, by default the right one."""
    if not isinstance(exercise, Hunt):
        return (function,)
    return (exercise.cause if cause is None else cause, function)
