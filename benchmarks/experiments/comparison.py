"""All detectors of the book side by side: everything that chapter 7 shows, from one command.

    python benchmarks/experiments/comparison.py                    # all parts, in this order:
    python benchmarks/experiments/comparison.py --parts steps      # time of a step, alone
    python benchmarks/experiments/comparison.py --parts live       # what the chapter repeats
    python benchmarks/experiments/comparison.py --parts matrix     # every detector, every scenario
    python benchmarks/experiments/comparison.py --parts table      # equal time, default scenes
    python benchmarks/experiments/comparison.py --parts peers      # torchvision's, equal time
    python benchmarks/experiments/comparison.py --parts labels     # 100 and 500 labelled images
    python benchmarks/experiments/comparison.py --parts weights    # that have stayed elsewhere
    python benchmarks/experiments/comparison.py --parts speed      # latency and memory, alone
    python benchmarks/experiments/comparison.py --check            # three cells, anew, stored

Trainings run two at a time, one thread each (``--at-a-time``); what is timed runs alone. Killed at
any time and started again, it goes on at the last checkpoint of each training. The machine's times
decide nothing but the first part: later parts, and a repetition, take the steps that it stored.

A part whose runs are all stored is passed over, wherever they were made. The results of a part
must come from one machine: on another one the command refuses to add to them. Trainings are the
same work on every machine (float32, the stored steps), so a GPU may do them, several at a time;
``steps`` and ``speed`` measure the time of a CPU and must come from the same one. Do not narrow the
cores (taskset): their number is part of the machine's description.

What is stored was made by the commands above, of each part its own, on these machines (each run
says so itself; the files are those of ``detlearn/results``):

=========  ============================  =====================================
part       stored as                     made on
=========  ============================  =====================================
steps      comparison_steps.json         2 cores of AMD EPYC (AVX2), 1 thread
live       comparison_live.json          NVIDIA H100 80GB HBM3
matrix     comparison_matrix.json        2 cores of AMD EPYC (AVX2), 1 thread
table      comparison.json               NVIDIA H100 80GB HBM3
peers      comparison_peers.json         2 cores of AMD EPYC (AVX2), 1 thread
labels     comparison_labels.json        NVIDIA H100 80GB HBM3
speed      comparison_speed.json         2 cores of AMD EPYC (AVX2), 1 thread
=========  ============================  =====================================

``--tiny FOLDER`` tries everything out in a minute or two, on sizes that teach nothing, and stores
into FOLDER.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import comparison_check
import comparison_matrix
import comparison_sizes
import comparison_speed
import comparison_steps
import comparison_trainings
import runner
import torch
from comparison_sizes import FULL, TINY, Sizes

from detlearn import results, training
from detlearn.results import stored

SCRIPT = "benchmarks/experiments/comparison.py"
PARTS: dict[str, Callable[[Sizes, str], runner.Experiment]] = {
    "steps": comparison_steps.calibration,
    "live": comparison_matrix.live,
    "matrix": comparison_matrix.matrix,
    "table": comparison_trainings.table,
    "peers": comparison_trainings.peers,
    "labels": comparison_trainings.fewer_labels,
    "speed": comparison_speed.speed,
}
WEIGHTS = "weights"  # a part that stores no result, but files that `speed` reads
ORDER = (*(part for part in PARTS if part != "speed"), WEIGHTS, "speed")
ALONE = ("steps", "speed")  # nothing may run beside a measurement of time


def experiment(part: str, sizes: Sizes) -> runner.Experiment:
    """Return one part of the comparison."""
    return PARTS[part](sizes, f"python {SCRIPT} --parts {part}")


def refuse_other_hardware(part: runner.Experiment) -> None:
    """Refuse to add runs of this machine to those of another.

    Raises:
        ValueError: if there are runs of another one.
    """
    try:
        known = results.load(part.name).hardware()
    except FileNotFoundError:
        return

    here = results.provenance("", [])["hardware"]
    if known != [here]:
        raise ValueError(
            f"{part.name} holds runs of {' and '.join(known)}; this is {here}. A table must not "
            f"mix machines: go on there, or move {stored.FOLDER / part.name}.json away and start "
            "afresh here"
        )


def incomplete(parts: Sequence[str], sizes: Sizes) -> list[str]:
    """Return the parts that have something left to make; of the others, say so in a line each.

    Raises:
        ValueError: if runs with other settings are stored.
    """
    to_do = []
    for part in parts:
        one = experiment("speed" if part == WEIGHTS else part, sizes)
        if runner.missing_runs(one):
            to_do.append(part)
        elif part == WEIGHTS:
            print(f"{part}: not needed, {one.name} is complete")
        else:
            machines = " and ".join(results.load(one.name).hardware())
            print(f"{part}: complete in {one.name}, made on {machines}")
    return to_do


def work(parts: Sequence[str], sizes: Sizes) -> None:
    """Make in this process what is missing of some parts, one run after the other."""
    for part in parts:
        if part == WEIGHTS:
            comparison_speed.learn_weights(sizes)
            continue

        one = experiment(part, sizes)
        refuse_other_hardware(one)
        runner.run_missing(one)


def share(part: str, at_a_time: int, tiny: str | None) -> None:
    """Make what is missing of a part, in several processes.

    Raises:
        SystemExit: if one of them fails.
    """
    command = [sys.executable, __file__, "--parts", part, "--at-a-time", "1"]
    if tiny is not None:
        command += ["--tiny", tiny]
    # Threads that wait are not to spin: the other process needs the core.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    processes = [subprocess.Popen(command, env=environment) for _ in range(at_a_time)]

    try:
        codes = [process.wait() for process in processes]
    finally:
        for process in processes:
            if process.poll() is None:
                process.terminate()
    if any(codes):
        sys.exit(f"a process of {part} ended with {max(codes, key=abs)}; see above")


def main(arguments: Sequence[str] | None = None) -> None:
    """Make what is missing, or check what is stored."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0],
        epilog=__doc__.split("\n", 2)[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--parts", nargs="+", choices=ORDER, default=list(ORDER))
    parser.add_argument("--at-a-time", type=int, default=2, metavar="N")
    parser.add_argument("--check", action="store_true", help="train three cells anew and compare")
    parser.add_argument("--tiny", metavar="FOLDER", help="try it out; store there")
    options = parser.parse_args(arguments)

    if training.is_shortened():
        parser.error("unset DETLEARN_FAST: shortened trainings must not be stored")
    if options.at_a_time < 1:
        parser.error(f"--at-a-time is {options.at_a_time}: expected at least 1")

    # Threads are part of a machine's description: the same here as in the processes that work.
    torch.set_num_threads(1)
    # A GPU would round the factors of its convolutions to ten bits otherwise.
    torch.backends.cudnn.allow_tf32 = False
    sizes = FULL
    if options.tiny is not None:
        sizes = TINY
        into(Path(options.tiny))

    try:
        if options.check:
            sys.exit(0 if comparison_check.check(sizes, f"python {SCRIPT} --check") else 1)

        to_do = incomplete([part for part in ORDER if part in options.parts], sizes)
        timed = [part for part in ALONE if part in to_do]
        if torch.cuda.is_available() and timed:
            parser.error(
                f"{' and '.join(timed)} measure the time of a CPU: set CUDA_VISIBLE_DEVICES= for "
                "them, or choose other --parts"
            )

        for part in to_do:
            if options.at_a_time == 1 or part in ALONE:
                work([part], sizes)
            else:
                if part != WEIGHTS:
                    refuse_other_hardware(experiment(part, sizes))
                share(part, options.at_a_time, options.tiny)
    except (ValueError, FileNotFoundError) as error:
        parser.error(str(error))


def into(folder: Path) -> None:
    """Keep results, locks and checkpoints of this process in a folder of their own."""
    folder.mkdir(parents=True, exist_ok=True)
    stored.FOLDER = folder
    runner.LOCKS = folder / "runs"
    for module in (comparison_sizes, comparison_trainings):
        module.CHECKPOINTS = folder / "runs"


if __name__ == "__main__":
    main()
