"""The experiments' runner: what is stored is not run again, and two processes share the work."""

import importlib
import json
import math
import subprocess
import sys

import pytest
import torch

from detlearn import results
from detlearn.results import stored


@pytest.fixture
def runner(root, monkeypatch, tmp_path):
    """The module, with a folder of results and of locks of its own."""
    monkeypatch.syspath_prepend(str(root / "benchmarks" / "experiments"))
    monkeypatch.setattr(stored, "FOLDER", tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DETLEARN_FAST", raising=False)
    return importlib.import_module("runner")


def experiment(runner, seen, **changes):
    def run(variant, seed):
        seen.append((variant, seed))
        return {"ap": 0.5 + seed / 10, "seconds": 3}

    defaults = {
        "name": "small",
        "command": "python x.py",
        "settings": {"steps": 3, "edges": (1, 2)},
        "seeds": {"b": (0, 1), "a": (0, 1, 2)},
        "run": run,
    }
    return runner.Experiment(**{**defaults, **changes})


class TestRunMissing:
    def test_what_a_run_would_go_on_with_is_forgotten_when_it_is_stored(self, runner):
        """A kill between the two would lose the training."""
        forgotten = []

        def forget(variant, seed):
            runs = results.load("small")["runs"]
            assert (variant, seed) in {(run["variant"], run["seed"]) for run in runs}
            forgotten.append((variant, seed))

        runner.run_missing(experiment(runner, [], forget=forget), ["b"])
        assert forgotten == [("b", 0), ("b", 1)]

    def test_all_variants_of_a_seed_before_the_next_seed(self, runner):
        seen = []
        runner.run_missing(experiment(runner, seen))
        assert seen == [("b", 0), ("a", 0), ("b", 1), ("a", 1), ("a", 2)]

        result = results.load("small")  # sorted by variant as the experiment has them
        pairs = [(run["variant"], run["seed"]) for run in result["runs"]]
        assert pairs == [("b", 0), ("b", 1), ("a", 0), ("a", 1), ("a", 2)]
        hardware = result["provenance"]["hardware"]
        assert result["runs"][1] == {
            **{"variant": "b", "seed": 1, "ap": 0.6, "seconds": 3},
            "hardware": hardware,
        }
        assert result["settings"] == {"steps": 3, "edges": [1, 2]}
        assert result["provenance"]["seeds"] == [0, 1, 2]

    def test_goes_on_where_it_was_stopped(self, runner):
        class Stop(Exception):
            pass

        seen = []

        def stops(variant, seed):
            if len(seen) == 2:
                raise Stop
            seen.append((variant, seed))
            return {"seconds": 1}

        with pytest.raises(Stop):
            runner.run_missing(experiment(runner, [], run=stops))
        assert len(results.load("small")["runs"]) == 2
        later = []
        runner.run_missing(experiment(runner, later))
        assert later == [("b", 1), ("a", 1), ("a", 2)]
        runner.run_missing(experiment(runner, later))
        assert len(later) == 3

    def test_some_variants_and_seeds(self, runner):
        seen = []
        runner.run_missing(experiment(runner, seen), ["a"], [2, 0])
        assert seen == [("a", 0), ("a", 2)]

    def test_other_settings_are_refused(self, runner):
        runner.run_missing(experiment(runner, []))
        seen = []
        other = experiment(runner, seen, settings={"steps": 4, "edges": (1, 2)})
        with pytest.raises(ValueError, match=r"'steps': 3.*'steps': 4.*small.json to start afresh"):
            runner.run_missing(other)
        assert seen == [] and len(results.load("small")["runs"]) == 5

    def test_a_preview_is_kept_beside_the_runs(self, runner):
        found = [{"boxes": [], "scores": [], "labels": []}]

        def run(variant, seed):
            shown = {"preview": found} if (variant, seed) == ("b", 0) else {}
            return {"ap": 0.5, "seconds": 1, **shown}

        runner.run_missing(experiment(runner, [], run=run))
        result = results.load("small")
        assert result["preview"] == {"seed": runner.PREVIEW_SEED, "detections": found}
        assert all("preview" not in run for run in result["runs"])
        assert result["provenance"]["seeds"] == [0, 1, 2, runner.PREVIEW_SEED]

    def test_a_preview_of_a_run_stays_with_it(self, runner):
        shown = {"seed": runner.PREVIEW_SEED, "detections": []}
        runner.run_missing(experiment(runner, [], run=lambda *_: {"ap": 0.5, "preview": shown}))
        result = results.load("small")
        assert "preview" not in result
        assert all(run["preview"] == shown for run in result["runs"])


def test_a_run_that_another_process_is_at_is_left_to_it(runner):
    seen = []
    with runner.lock("small b 0", wait=False) as is_ours:
        assert is_ours
        runner.run_missing(experiment(runner, seen))
        assert ("b", 0) not in seen and len(seen) == 4
    runner.run_missing(experiment(runner, seen))
    assert seen[-1] == ("b", 0) and len(seen) == 5


TWO = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import runner
from detlearn.results import stored

stored.FOLDER = Path("results")


def run(variant, seed):
    with open(f"log {sys.argv[2]}", "a") as log:
        log.write(f"{variant} {seed}\\n")
    time.sleep(0.05)
    return {"ap": seed, "seconds": 1}


runner.run_missing(
    runner.Experiment("both", "python x.py", {"steps": 1}, {"a": range(6), "b": range(6)}, run)
)
"""


@pytest.mark.slow
def test_two_processes_share_the_work(runner, root, tmp_path):
    """No run is made twice and none is lost, however they meet."""
    (tmp_path / "two.py").write_text(TWO)
    folder = root / "benchmarks" / "experiments"
    processes = [
        subprocess.Popen([sys.executable, "two.py", folder, name], cwd=tmp_path) for name in "12"
    ]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    logs = [path.read_text().splitlines() for path in tmp_path.glob("log *")]
    wanted = {f"{variant} {seed}" for variant in "ab" for seed in range(6)}
    done = [line for log in logs for line in log]
    assert sorted(done) == sorted(wanted)
    stored_runs = json.loads((tmp_path / "results" / "both.json").read_text())["runs"]
    assert {f"{run['variant']} {run['seed']}" for run in stored_runs} == wanted


def test_shortened_trainings_are_not_stored(runner, monkeypatch, capsys):
    monkeypatch.setenv("DETLEARN_FAST", "1")
    with pytest.raises(SystemExit):
        runner.main(experiment(runner, []), "about", [])
    assert "unset DETLEARN_FAST" in capsys.readouterr().err
    assert not (stored.FOLDER / "small.json").exists()


@pytest.mark.parametrize(
    "name",
    [
        *(
            "bccd_boxes",
            "box_losses",
            "cascade_rate",
            "point_choices",
            "point_preview",
            "two_stage",
        ),
        *("yolo_cells", "yolo_preview", "yolo_multi_scale", "yolo_fastest_photo", "detr_ladder"),
        "detr_longer",
    ],
)
def test_each_script_continues_what_is_committed(runner, root, monkeypatch, name):
    """All its runs are stored with the settings of today: nothing is left to do."""
    monkeypatch.setattr(stored, "FOLDER", root / "detlearn" / "results")
    script = importlib.import_module(name)
    pairs = runner._stored_pairs(script.EXPERIMENT)
    wanted = {(v, seed) for v, seeds in script.EXPERIMENT.seeds.items() for seed in seeds}
    assert pairs == wanted


@pytest.mark.parametrize("part", ["steps", "live", "matrix", "table", "peers", "labels", "speed"])
def test_the_comparison_continues_what_is_committed(runner, root, monkeypatch, part):
    """All runs of chapter 7 are stored with the settings of today."""
    monkeypatch.setattr(stored, "FOLDER", root / "detlearn" / "results")
    comparison = importlib.import_module("comparison")
    sizes = importlib.import_module("comparison_sizes").FULL
    one = comparison.experiment(part, sizes)
    wanted = {(variant, seed) for variant, seeds in one.seeds.items() for seed in seeds}
    assert runner._stored_pairs(one) == wanted


@pytest.mark.parametrize("model", ["point", "faster_rcnn"])
def test_the_blood_cells_script_continues_what_is_committed(runner, root, monkeypatch, model):
    monkeypatch.setattr(stored, "FOLDER", root / "detlearn" / "results")
    bccd = importlib.import_module("bccd")
    assert runner._stored_pairs(bccd.experiment(model)) == {(model, 0)}


def test_every_variant_of_the_two_stages_can_be_built(runner):
    two_stage = importlib.import_module("two_stage")
    models = {name: variant.build() for name, variant in two_stage.VARIANTS.items()}
    assert len({type(model) for model in models.values()}) == 2
    assert type(models["pool"].roi_heads.box_roi_pool) is not type(
        models["align"].roi_heads.box_roi_pool
    )
    ratios = {name: model.rpn.anchor_generator.aspect_ratios[0] for name, model in models.items()}
    long = {name for name, found in ratios.items() if tuple(found) == (0.25, 1.0, 4.0)}
    assert long == {"long anchors", "long anchors, unforced"}
    assert {n for n, v in two_stage.VARIANTS.items() if not v.forced} == {
        "usual anchors, unforced",
        "long anchors, unforced",
    }


def test_the_ladder_of_the_yolo_head_changes_one_step_at_a_time(runner):
    ladder = importlib.import_module("yolo_head")
    models = {name: build(10) for name, build in ladder.VARIANTS.items()}
    looks = {
        name: (type(m).__name__, list(m.heads), next(iter(m.heads.values())).num_bins)
        for name, m in models.items()
    }
    many, one = ["one_to_many"], ["one_to_one"]
    assert looks == {
        "fixed centres": ("FixedCentres", many, 1),
        "task-aligned": ("YOLOv8", many, 1),
        "distribution": ("YOLOv8", many, 16),
        "one-to-one": ("YOLOv8", many + one, 16),
        "one-to-one, joint": ("YOLOv8", many + one, 16),
        "one-to-one alone": ("YOLOv8", one, 16),
        "one-to-one, narrowing": ("Narrowing", many + one, 16),
        "one-to-one, narrowing, deeper": ("Narrowing", many + one, 16),
    }
    assert [name for name, m in models.items() if m.detached] == [
        "one-to-one",
        "one-to-one, narrowing",
        "one-to-one, narrowing, deeper",
    ]

    # Only the last has a second convolution, and in the second head alone.
    towers = {
        name: [len(head.class_towers[0]) for head in m.heads.values()] for name, m in models.items()
    }
    assert towers.pop("one-to-one, narrowing, deeper") == [2, 3]
    assert all(set(lengths) == {2} for lengths in towers.values())


def test_the_ladder_of_detr_changes_one_thing_at_a_time(runner):
    ladder = importlib.import_module("detr_ladder")
    looks = {}
    for name, rung in ladder.LADDER.items():
        model = rung.build(10)
        refined = getattr(model.transformer.decoder, "iterative_refinement", False)
        looks[name] = (
            rung.backbone_steps > 0,
            type(model).__name__,
            refined,
            getattr(model, "iou_aware", False),
            getattr(model, "denoising_groups", 0),
        )
    assert looks == {
        "plain": (False, "DETR", False, False, 0),
        "warm backbone": (True, "DETR", False, False, 0),
        "anchor queries": (True, "DABDETR", False, False, 0),
        "refinement": (True, "DABDETR", True, False, 0),
        "IoU-aware": (True, "DABDETR", True, True, 0),
        "denoising": (True, "DABDETR", True, True, 3),
        # Beside the ladder.
        "groups": (True, "GroupDETR", False, False, 0),
        "groups, higher rate": (True, "GroupDETR", False, False, 0),
        "one group, higher rate": (True, "DETR", False, False, 0),
        "two-stage": (True, "DeformableDETR", False, False, 0),
    }


def test_fixed_centres_by_hand(runner):
    """Points of strides 4 and 8; two objects of one centre, a large one, one between the points."""
    ladder = importlib.import_module("yolo_head")
    points = torch.tensor([[18.0, 18], [22, 18], [26, 18], [14, 18], [20, 20], [60, 60]])
    strides = torch.tensor([4.0, 4, 4, 4, 8, 8])
    boxes = torch.tensor(
        [
            [[10.0, 10, 26, 26], [15, 10, 21, 26], [20.5, 20.5, 99.5, 99.5]],
            [[18.5, 10, 21.5, 30], [0, 0, 0, 0], [0, 0, 0, 0]],
        ]
    )
    assigned = ladder.fixed_centres(points, strides, boxes, [4, 8])
    # First image: the narrow one has the first location, being smaller; the wide one the next, and
    # the fourth is beside its middle; the third lies on its border. At stride 8 only the large one
    # reaches far enough, and its centre is (60, 60).
    assert assigned[0].tolist() == [1, 0, -1, 0, -1, 2]
    # Second: no location of stride 4 inside; the one of stride 8 is too coarse for it.
    assert assigned[1].tolist() == [-1] * 6
    none = ladder.fixed_centres(points, strides, torch.zeros(2, 0, 4), [4, 8])
    assert none.tolist() == [[-1] * 6] * 2


def test_the_stretches_of_objects_by_hand(runner):
    """10 × 10 is found, 30 × 10 with another class, 50 × 10 with a score too low, 80 × 10 found."""
    two_stage = importlib.import_module("two_stage")
    sides = [(10, 10), (30, 10), (50, 10), (80, 10)]
    boxes = torch.tensor([[0.0, 20 * i, w, 20 * i + h] for i, (w, h) in enumerate(sides)])
    truth = {"boxes": boxes, "labels": torch.tensor([0, 1, 2, 3])}
    found = {
        "boxes": boxes,
        "labels": torch.tensor([0, 2, 2, 3]),
        "scores": torch.tensor([0.9, 0.9, 0.29, 0.3]),
    }
    assert two_stage.found_by_stretch([found], [truth]) == [1.0, 0.0, 0.0, 1.0]


def test_who_holds_the_loss_by_hand(runner):
    """One anchor that learns class 1, one of background; scores .5 and .05, .2 and .05."""
    focal_loss = importlib.import_module("focal_loss")
    logits = torch.tensor([[0.05, 0.5], [0.2, 0.05]]).logit()
    of_loss, of_gradient = focal_loss.shares(logits, torch.tensor([1, -1]), alpha=None, gamma=0.0)
    entropy = {"yes": -math.log(0.5), "hard no": -math.log(0.8), "easy no": -2 * math.log(0.95)}
    assert of_loss == pytest.approx({k: v / sum(entropy.values()) for k, v in entropy.items()})
    # The gradient of cross-entropy is the score, or the score less one: .5, .2 and twice .05.
    assert of_gradient == pytest.approx({"yes": 0.5 / 0.8, "hard no": 0.2 / 0.8, "easy no": 0.125})

    of_loss, _ = focal_loss.shares(logits, torch.tensor([1, -1]), alpha=0.25, gamma=2.0)
    weights = {"yes": 0.25 * 0.25, "hard no": 0.75 * 0.04, "easy no": 0.75 * 0.0025}
    focal = {kind: weights[kind] * entropy[kind] for kind in entropy}
    assert of_loss == pytest.approx({kind: v / sum(focal.values()) for kind, v in focal.items()})


def test_the_focal_loss_s_variants_differ_in_the_loss_alone(runner):
    focal_loss = importlib.import_module("focal_loss")
    models = {}
    for name, options in focal_loss.LOSSES.items():
        torch.manual_seed(0)
        models[name] = focal_loss.retinanet_small(10, **options)
    assert {name: (m.alpha, m.gamma) for name, m in models.items()} == {
        "cross-entropy": (None, 0.0),
        "focal, paper": (0.25, 2.0),
        "focal": (0.5, 1.0),
    }
    first, *others = (m.state_dict() for m in models.values())
    for other in others:
        assert all(torch.equal(value, other[key]) for key, value in first.items())
