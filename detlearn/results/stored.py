"""One file a result, all in one form.

======================  ==========================================================================
``"name"``              of the file, without its ending
``"settings"``          what all runs have in common
``"runs"``              one dictionary a training: ``"variant"``, ``"seed"``, its numbers (``"ap"``,
                        ``"ap50"``, …), ``"seconds"``, the time of the training, and ``"hardware"``,
                        the machine that made it, see `Result.hardware`; and in some results a
                        ``"preview"`` like the one below
``"picture"``           where there is one, see `detlearn.results.pictures`
``"preview"``           where there is one: ``"detections"`` on the ToyTown scenes of ``"seed"``
``"provenance"``        the command, the seeds, and of the run that was stored last the hardware and
                        the versions of Python and packages
======================  ==========================================================================
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from detlearn.machine.checkpoints import write_atomically
from detlearn.machine.doctor import versions
from detlearn.machine.hardware import default_device, describe

FOLDER = Path(__file__).parent
UNKNOWN = "not recorded"  # what a run says for its hardware where nobody knows


class Result(dict):
    """A stored result: the dictionary of its file, with what is mostly asked of it.

    ``result["runs"]`` and the other keys are those of this module's docstring.
    """

    def variants(self) -> list[str]:
        """Return the names of the variants, in the order in which they are stored."""
        return list(dict.fromkeys(run["variant"] for run in self["runs"]))

    def runs(self, variant: str) -> list[dict[str, Any]]:
        """Return the runs of one variant, one for each seed.

        Raises:
            ValueError: if there is no such variant; the message lists those that are there.
        """
        found = [run for run in self["runs"] if run["variant"] == variant]
        if not found:
            known = ", ".join(self.variants()) or "none"
            raise ValueError(f"{self['name']} has no variant {variant!r}; there are: {known}")
        return found

    def run(self, variant: str) -> dict[str, Any]:
        """Return the first run of one variant, that of the lowest seed.

        Raises:
            ValueError: if there is no such variant; the message lists those that are there.
        """
        return self.runs(variant)[0]

    def numbers(self, variant: str, key: str) -> list[float]:
        """Return one number of each run of a variant, for instance its "ap50".

        Raises:
            ValueError: if the variant or one of its runs' numbers is not there.
        """
        runs = self.runs(variant)
        if not all(key in run for run in runs):
            known = ", ".join(name for name in runs[0] if name not in ("variant", "seed"))
            raise ValueError(f"the runs of {variant!r} have no {key!r}; they have: {known}")
        return [run[key] for run in runs]

    def hardware(self, variant: str | None = None) -> list[str]:
        """Return the machines on which runs were made, each once, in the order of the runs.

        Seconds compare only where there is one. "not recorded" is among them if a run does not say
        where it was made while others do. Where none says so, the file is older than that entry;
        its experiments had one machine, and that is the one of the provenance.

        Args:
            variant: whose runs; by default all.

        Raises:
            ValueError: if there is no such variant.
        """
        says_so = any("hardware" in run for run in self["runs"])
        usual = UNKNOWN if says_so else self["provenance"]["hardware"]

        runs = self["runs"] if variant is None else self.runs(variant)
        return list(dict.fromkeys(run.get("hardware") or usual for run in runs))

    def mean(self, variant: str, key: str) -> float:
        """Return the mean of a number over the seeds of a variant."""
        numbers = self.numbers(variant, key)
        return sum(numbers) / len(numbers)


def load(name: str) -> Result:
    """Read a stored result.

    Args:
        name: the file's name without its ending.

    Raises:
        FileNotFoundError: if there is no such result; the message lists those that are there.
    """
    path = _path(name)
    if not path.is_file():
        known = ", ".join(sorted(other.stem for other in FOLDER.glob("*.json"))) or "none"
        raise FileNotFoundError(f"no stored result called {name!r}; there are: {known}")
    return Result(json.loads(path.read_text(encoding="utf-8")))


def store(
    name: str,
    settings: Mapping[str, Any],
    runs: Sequence[Mapping[str, Any]],
    *,
    command: str,
    preview: Mapping[str, Any] | None = None,
    picture: Mapping[str, str] | None = None,
) -> Path:
    """Write a result beside the others, atomically.

    Args:
        name: the file's name without its ending.
        settings: what all runs have in common, JSON-able.
        runs: each with "variant", "seed" and its numbers.
        command: what was run, from the top of the repository.
        preview: {"seed": of the scenes, "detections": what was found in each, as lists}.
        picture: {"alt": text, "source": of its photographs, "licence": theirs}.

    Returns:
        The file's path.
    """
    seeds = {run["seed"] for run in runs}
    result = {"name": name, "settings": dict(settings), "runs": [dict(run) for run in runs]}

    if preview is not None:
        seeds.add(preview["seed"])
        result["preview"] = dict(preview)

    if picture is not None:
        result["picture"] = dict(picture)

    result["provenance"] = provenance(command, sorted(seeds))

    # A list of plain numbers, a box say, goes on one line.
    text = json.dumps(result, indent=1, ensure_ascii=False)
    text = re.sub(r"\[[^][{}\"]*\]", lambda found: " ".join(found[0].split()), text)
    write_atomically(_path(name), (text + "\n").encode())
    return _path(name)


def provenance(command: str, seeds: Sequence[int]) -> dict[str, Any]:
    """Return what was run, with which versions, on which machine."""
    return {
        "command": command,
        "seeds": list(seeds),
        "hardware": describe(default_device()),
        "versions": versions(),
    }


def as_tensors(detections: Sequence[Mapping[str, list]]) -> list[dict[str, Tensor]]:
    """Return detections that were stored as lists as tensors again.

    Args:
        detections: one ``{"boxes": N × 4 numbers xyxy, "scores": N, "labels": N}`` per image.

    Returns:
        The same with boxes (N, 4), scores (N,) float32 and labels (N,) int64.
    """
    return [
        {
            "boxes": torch.tensor(found["boxes"], dtype=torch.float32).view(-1, 4),
            "scores": torch.tensor(found["scores"], dtype=torch.float32),
            "labels": torch.tensor(found["labels"], dtype=torch.int64),
        }
        for found in detections
    ]


def _path(name: str) -> Path:
    return FOLDER / f"{name}.json"
