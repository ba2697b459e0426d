"""The comparison as a table, the failure matrix, and what others published."""

import json
import math
import re
import statistics

import numpy as np
import pytest
import torch

from detlearn import results
from detlearn.matching import places_per_object
from detlearn.results import published, stored

HERE = "2 cores of here"
SCORES = {"ap75": 0.5, "ap_small": 0.3, "ap_medium": 0.6, "ap_large": -1.0, "images": 16}


def run(variant, seed, ap, ap50=0.9, steps=100, reached=50, **others):
    return {
        "variant": variant,
        "seed": seed,
        "ap": ap,
        "ap50": ap50,
        **SCORES,
        "steps": steps,
        "steps_to_80": reached,
        "hardware": HERE,
        **others,
    }


def speed(ms):
    return {
        "parameters": 1_234_567,
        "multiply_adds": 5e7,
        "ms_batch_1": ms,
        "ratio_batch_1": ms / 2,
        "ms_batch_8": 4 * ms,
        "memory_call_mib": 10.0,
        "memory_step_mib": 50.0,
    }


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "FOLDER", tmp_path)
    return tmp_path


@pytest.fixture
def everything(folder):
    """Two detectors and a peer, measured by hand: 100 steps of 0.1 s in 10 s."""
    step = {"seconds_per_step": 0.1, "seconds_per_backbone_step": 0.0, "backbone_steps": 0}
    warm = {**step, "seconds_per_backbone_step": 0.05, "backbone_steps": 100}
    peer = "torchvision fcos 128"
    names = {"a": step, "b": warm, peer: step}
    calibrated = [
        {"variant": name, "seed": 0, **time, "hardware": HERE} for name, time in names.items()
    ]
    results.store("comparison_steps", {}, calibrated, command="steps.py")

    runs = [
        run("a", 0, 0.5),
        run("a", 1, 0.7, reached=70),
        run("b", 0, 0.4, steps=50, reached=None),
        run("b", 1, 0.4, steps=50, reached=20),
    ]
    settings = {"seconds": 10.0, "train_scenes": 2000}
    results.store("comparison", settings, runs, command="table.py")

    rates = [
        run(f"{peer} lr 0.001", 0, 0.1, detector=peer, lr=0.001, reached=None),
        run(f"{peer} lr 0.002", 0, 0.2, detector=peer, lr=0.002, reached=None),
    ]
    results.store("comparison_peers", settings, rates, command="peers.py")

    labels = [
        run("a, 100 images", 0, 0.11, detector="a", train_scenes=100),
        run("a, 500 images", 0, 0.33, detector="a", train_scenes=500),
    ]
    results.store("comparison_labels", settings, labels, command="labels.py")

    measured = {"a": speed(2.0), "b": speed(3.0), peer: speed(40.0)}
    fast = [{"variant": "all in turns", "seed": 0, "detectors": measured, "hardware": HERE}]
    results.store("comparison_speed", {}, fast, command="speed.py")
    return peer


class TestTable:
    def test_by_hand(self, everything):
        table = results.detection_comparison()
        assert list(table) == ["a", "b", everything]
        assert table.machine == HERE
        assert table["ap"] == pytest.approx({"a": 0.6, "b": 0.4, everything: 0.2})
        assert table.spreads["a"]["ap"] == pytest.approx(math.sqrt(0.02))
        # 50 and 70 steps of 0.1 s; one seed of b never got there.
        assert table["seconds_to_80"] == {
            "a": pytest.approx(6.0),
            "b": "not reached (1 of 2 seeds)",
            everything: "not reached",
        }
        assert table["ap_100"] == {"a": 0.11, "b": None, everything: None}
        assert table["ap_2000"] == {"a": 0.5, "b": 0.4, everything: None}  # of the first seed
        assert table["ratio_batch_1"] == {"a": 1.0, "b": 1.5, everything: 20.0}
        assert table["ms_batch_8"] == {"a": 8.0, "b": 12.0, everything: 160.0}
        assert table.row("a")["parameters"] == 1_234_567

    def test_the_backbone_s_steps_take_time(self, everything):
        """5 s of warming, so 50 steps of 0.1 s are left of 10 s."""
        result = results.load("comparison")
        result["runs"][2]["steps_to_80"] = 30
        results.store("comparison", result["settings"], result["runs"], command="table.py")
        assert results.detection_comparison()["seconds_to_80"]["b"] == pytest.approx(7.5)

    def test_every_number_names_its_source(self, everything):
        table = results.detection_comparison()
        for detector, row in table.cells.items():
            for key, value in row.items():
                if value is None:
                    with pytest.raises(KeyError, match="has not been measured"):
                        table.source(detector, key)
                else:
                    source = table.source(detector, key)
                    assert re.search(r"comparison\w*\.json", source) and HERE in source
        assert "speed.py" in table.source("a", "ms_batch_1")
        assert "seeds 0, 1 (table.py" in table.source("a", "ap")
        assert "seed 0, learning rate 0.002 (peers.py" in table.source(everything, "ap")
        assert "seed 0 (table.py" in table.source("a", "ap_2000")
        assert "comparison_steps.json" in table.source("a", "seconds_to_80")
        listed = " ".join(table.list_of_sources())
        assert all(f"{part}.py" in listed for part in ("table", "peers", "labels", "speed"))

    def test_how_it_is_written(self, everything):
        table = results.detection_comparison()
        assert table.text("a", "ap") == ".600 ±\u00a0.141"
        assert table.text("b", "ap") == ".400 ±\u00a0.000"
        assert table.text(everything, "ap") == ".200"
        assert table.text("a", "ap_large") == "–" and table.text("b", "ap_100") == ""
        assert table.text("b", "seconds_to_80") == "not reached (1 of 2 seeds)"
        assert table.text("a", "parameters") == "1.23"
        assert f"measured on {HERE}" in str(table)

    def test_the_html_is_a_table_with_sources(self, everything):
        made = results.detection_comparison()._repr_html_()
        assert made.count("<tr>") == 4 and "not reached" in made
        assert made.count('scope="row"') == 3
        assert 'title="not measured"' in made and "Where each number comes from" in made

    def test_sorted_and_selected(self, everything):
        table = results.detection_comparison()
        assert list(table.sorted_by("ap")) == ["a", "b", everything]
        assert list(table.sorted_by("ms_batch_1")) == ["a", "b", everything]
        assert next(iter(table.sorted_by("ap_100"))) == "a"  # what is missing comes last
        chosen = table.select([everything, "a"], ["ap", "ms_batch_1"])
        assert list(chosen) == [everything, "a"] and len(chosen.columns) == 2
        assert chosen.source("a", "ap") == table.source("a", "ap")
        for ask in (
            lambda: table["map"],
            lambda: table.row("c"),
            lambda: table.select(["c"]),
            lambda: table.select(keys=["map"]),
            lambda: table.source("a", "map"),
        ):
            with pytest.raises(KeyError, match="there are: a"):
                ask()

    def test_machines_are_not_mixed(self, everything):
        result = results.load("comparison_speed")
        result["runs"][0]["hardware"] = "another one"
        results.store("comparison_speed", {}, result["runs"], command="speed.py")
        with pytest.raises(ValueError, match=r"must not mix machines.*comparison_speed on another"):
            results.detection_comparison()

    def test_a_training_may_run_elsewhere_than_the_clock(self, everything):
        """The same steps in float32 are the same work; times come from the clock's machine."""
        result = results.load("comparison")
        for one in result["runs"]:
            one["hardware"] = "another one"
        results.store("comparison", result["settings"], result["runs"], command="table.py")
        table = results.detection_comparison()
        assert table.machine == HERE
        assert "another one" in table.source("a", "ap")
        assert HERE in table.source("a", "ms_batch_1")

    def test_a_training_that_diverged_says_so(self, everything):
        result = results.load("comparison_peers")
        for one in result["runs"]:
            one.update(diverged=True, ap=0.0)
        settings = result["settings"]
        results.store("comparison_peers", settings, result["runs"], command="peers.py")
        table = results.detection_comparison()
        assert table.text(everything, "ap") == table.text(everything, "ap50") == "diverged"
        assert table.source(everything, "ap").startswith("comparison_peers.json")
        assert list(table.sorted_by("ap"))[-1] == everything

    def test_a_rate_that_diverged_is_the_last_choice(self, everything):
        result = results.load("comparison_peers")
        first = result["runs"][0]
        lost = {**first, "variant": "lost", "ap": 0.0, "diverged": True}
        nothing = {**first, "variant": "nothing", "ap": 0.0, "ap50": 0.25}
        results.store("comparison_peers", result["settings"], [lost, nothing], command="peers.py")
        table = results.detection_comparison()
        assert table["ap"][everything] == 0 and table["ap50"][everything] == 0.25

    def test_within_one_result_neither(self, everything):
        result = results.load("comparison")
        result["runs"][3]["hardware"] = "another one"
        results.store("comparison", result["settings"], result["runs"], command="table.py")
        with pytest.raises(ValueError, match=f"comparison on {HERE} and another one"):
            results.detection_comparison()

    def test_a_new_calibration_is_noticed(self, everything):
        result = results.load("comparison_steps")
        result["runs"][0]["seconds_per_step"] = 0.2
        results.store("comparison_steps", {}, result["runs"], command="steps.py")
        with pytest.raises(ValueError, match=r"trained a for \[100\] steps.* gives 50 to 10 s"):
            results.detection_comparison()

    def test_a_new_calibration_is_noticed_by_the_trainings_on_fewer_images(self, everything):
        result = results.load("comparison_labels")
        result["runs"][1]["steps"] = 90
        results.store("comparison_labels", result["settings"], result["runs"], command="labels.py")
        with pytest.raises(ValueError, match=r"comparison_labels trained a for \[90\] steps"):
            results.detection_comparison()

    def test_parts_may_be_missing_but_not_the_first(self, everything, folder):
        for part in ("peers", "labels", "speed", "steps"):
            (folder / f"comparison_{part}.json").unlink()
        table = results.detection_comparison()
        assert list(table) == ["a", "b"]
        assert table["ms_batch_1"] == {"a": None, "b": None} == table["seconds_to_80"]
        table._repr_html_()
        (folder / "comparison.json").unlink()
        with pytest.raises(FileNotFoundError, match="'comparison'"):
            results.detection_comparison()


def matrix_result(aps, hardware=HERE):
    """Of detector → one dictionary of AP by scenario for each seed."""
    runs = [
        {
            "variant": name,
            "seed": seed,
            "hardware": hardware,
            "steps": 100,
            "scenarios": {scenario: {"ap": ap} for scenario, ap in cells.items()},
        }
        for name, seeds in aps.items()
        for seed, cells in enumerate(seeds)
    ]
    return results.Result(
        name="m", settings={}, runs=runs, provenance={"command": "c", "hardware": hardware}
    )


APS = {
    "a": [{"x": 0.6, "y": 0.2}, {"x": 0.9, "y": 0.3}],
    "b": [{"x": 0.5, "y": 0.5}, {"x": 0.5, "y": 0.5}],
}


class TestMatrix:
    def test_relative_to_the_own_mean_by_hand(self):
        matrix = results.failure_matrix(matrix_result(APS))
        assert matrix.detectors == ("a", "b") and matrix.scenarios == ("x", "y")
        # Both seeds of a have three times as much on x as on y, whatever their level.
        assert matrix.relative("a", "x") == pytest.approx([1.5, 1.5])
        assert matrix.cell("a", "y") == pytest.approx((0.5, 0.5, 0.5))
        assert matrix.difference(["a"], ["b"], "y") == pytest.approx((-0.5, -0.5, -0.5))

    def test_the_interval_is_student_s(self):
        """1, 2, 3: mean 2, s = 1, t = 4.3027 with two degrees of freedom, over √3."""
        mean, low, high = results.interval([1.0, 2.0, 3.0])
        assert mean == 2 and high - mean == pytest.approx(2.484, abs=1e-3) == mean - low
        assert math.isnan(results.interval([1.0]).low)
        with pytest.raises(ValueError, match="no numbers"):
            results.interval([])

    def test_a_detector_that_finds_nothing(self):
        aps = {"a": [{"x": 0.0, "y": 0.0}, {"x": 0.5, "y": 0.5}]}
        matrix = results.failure_matrix(matrix_result(aps | {"b": [{"x": 0.2, "y": 0.6}] * 2}))
        first, second = matrix.relative("a", "x")
        assert math.isnan(first) and second == 1
        assert all(map(math.isnan, matrix.cell("a", "x")))
        assert all(map(math.isnan, matrix.difference(["a"], ["b"], "x")))

    def test_seeds_of_several_calibrations_do_not_mix(self):
        result = matrix_result(APS)
        result["runs"][1]["steps"] = 90
        with pytest.raises(ValueError, match=r"m trained a for \[90, 100\] steps"):
            results.failure_matrix(result)

    def test_groups(self):
        matrix = results.failure_matrix(matrix_result(APS))
        with pytest.raises(ValueError, match=r"the group \['c'\]: expected some of a, b"):
            matrix.difference(["c"], ["a"], "x")
        with pytest.raises(ValueError, match=r"the group \[\]"):
            matrix.difference(["a"], [], "x")

    def test_one_machine_and_all_seeds(self):
        mixed = matrix_result(APS)
        mixed["runs"][0]["hardware"] = "another"
        with pytest.raises(ValueError, match="must not mix machines"):
            results.failure_matrix(mixed)
        partial = matrix_result({"a": APS["a"], "b": APS["b"][:1]})
        with pytest.raises(ValueError, match=r"not complete.*'b': \[0\]"):
            results.failure_matrix(partial)

    def test_the_expected_range_by_hand(self):
        """Variances of x: .045 and 0, pooled .0225, two degrees of freedom; beside two seeds."""
        low, high = results.expected_range(matrix_result(APS), "a", "x")
        half = 4.302653 * 0.15 * math.sqrt(1.5)
        assert (low, high) == pytest.approx((0.75 - half, 0.75 + half), abs=1e-6)

        # Three seeds of variance .01 and two of 0: squares .02 over three degrees of freedom.
        three = {"a": [{"x": 0.4}, {"x": 0.5}, {"x": 0.6}], "b": [{"x": 0.5}, {"x": 0.5}]}
        low, high = results.expected_range(matrix_result(three), "b", "x")
        half = 3.182446 * math.sqrt(0.02 / 3) * math.sqrt(1.5)
        assert (low, high) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-6)

        single = matrix_result({"a": APS["a"][:1]})
        with pytest.raises(ValueError, match="one seed a detector"):
            results.expected_range(single, "a", "x")

    def test_a_training_has_fallen_below_half_of_the_best_of_its_detector(self):
        """Means over the scenarios: a .4 and .6; b .8 and .39; c .75 and .375, exactly a half."""
        aps = {
            "a": [{"x": 0.6, "y": 0.2}, {"x": 0.9, "y": 0.3}],
            "b": [{"x": 0.8, "y": 0.8}, {"x": 0.78, "y": 0.0}],
            "c": [{"x": 0.75, "y": 0.75}, {"x": 0.25, "y": 0.5}],
            "d": [{"x": 0.0, "y": 0.0}, {"x": 0.0, "y": 0.0}],
        }
        assert results.fallen_trainings(matrix_result(aps)) == [("b", 1)]
        aps["b"].reverse()
        assert results.fallen_trainings(matrix_result(aps)) == [("b", 0)]

    def test_a_detector_of_which_one_fell_has_no_part_in_the_spread(self):
        """b fell, its variance of x is .18; of a, alone, .005 with one degree of freedom: .0707."""
        aps = {"a": [{"x": 0.5}, {"x": 0.6}], "b": [{"x": 0.8}, {"x": 0.2}]}
        low, high = results.expected_range(matrix_result(aps), "a", "x")
        half = 12.706205 * math.sqrt(0.005) * math.sqrt(1.5)
        assert (low, high) == pytest.approx((0.55 - half, 0.55 + half), abs=1e-6)

        with pytest.raises(ValueError, match="m: of b the training with seed 1 reached less than"):
            results.expected_range(matrix_result(aps), "b", "x")

        # Of one seed each that stood, there is no spread, whatever the fallen one has.
        aps["a"].pop()
        with pytest.raises(ValueError, match="one seed a detector"):
            results.expected_range(matrix_result(aps), "a", "x")

    def test_a_notebook_shows_it_in_colours(self):
        """Relative APs 1.5 and 0.5: violet and brown, each half as deep as can be."""
        aps = {"a": [{"x": 0.6, "y": 0.2}] * 2, "<b>": [{"x": 0.0, "y": 0.0}] * 2}
        page = results.failure_matrix(matrix_result(aps))._repr_html_()
        cells = re.findall(r'<td style="[^"]*rgba\(([^)]*)\)" title="([^"]*)">([^<]*)</td>', page)
        assert cells == [
            ("92, 58, 158, 0.25", "1.50 to 1.50", "1.50"),
            ("184, 110, 0, 0.25", "0.50 to 0.50", "0.50"),
        ]
        assert page.count('title="found nothing in one of the seeds">–</td>') == 2
        assert "&lt;b&gt;" in page and "<b>" not in page and "2 seeds" in page

        alone = results.failure_matrix(matrix_result({"a": [{"x": 0.6, "y": 0.2}]}))
        assert alone._repr_html_().count('title="one seed"') == 2


class TestWhatIsStored:
    """The book's own results."""

    def test_the_ranges_of_the_three_cells_can_be_missed(self):
        """Against numpy, without cascade_rcnn, of which one training fell; none is .1 wide."""
        matrix = results.load("comparison_matrix")
        assert results.fallen_trainings(matrix) == [("cascade_rcnn", 1)]

        for detector, scenario in (("point", "tiny"), ("yolov8", "crowd"), ("fcos", "nested")):
            aps = {
                name: [run["scenarios"][scenario]["ap"] for run in matrix.runs(name)]
                for name in matrix.variants()
            }
            stood = np.array([row for name, row in aps.items() if name != "cascade_rcnn"])
            assert stood.shape == (11, 3)
            # t of 22 degrees of freedom.
            half = 2.073873 * math.sqrt(stood.var(axis=1, ddof=1).mean() * 4 / 3)
            mean = float(np.mean(aps[detector]))
            low, high = results.expected_range(matrix, detector, scenario)
            assert (low, high) == pytest.approx((mean - half, mean + half), abs=1e-6)
            assert high - low < 0.1

    def test_ours_reach_at_least_the_ap_of_torchvision_s_at_equal_time(self):
        """Of each family that has a peer: our worst seed, and the peer at its best rate."""
        ours, theirs = results.load("comparison"), results.load("comparison_peers")
        assert ours["settings"]["seconds"] == theirs["settings"]["seconds"]
        assert ours["settings"]["test_scenes"] == theirs["settings"]["test_scenes"]

        families = {
            "torchvision fasterrcnn 128": ("faster_rcnn", "cascade_rcnn"),
            "torchvision fcos 128": ("fcos",),
            "torchvision retinanet 128": ("retinanet",),
        }
        assert {run["detector"] for run in theirs["runs"]} == set(families)
        for peer, detectors in families.items():
            rates = [run for run in theirs["runs"] if run["detector"] == peer]
            assert len(rates) == 3
            for key in ("ap", "ap50"):
                best = max(run[key] for run in rates)
                for name in detectors:
                    assert min(ours.numbers(name, key)) >= best, f"{name}, {key}: {best} of {peer}"

        # Their steps are those of the calibration, so the time was equal.
        table = results.detection_comparison()
        assert set(families) < set(table) and set(ours.variants()) < set(table)

    def test_the_check_of_three_cells_where_one_was_made(self):
        try:
            check = results.load("comparison_check")
        except FileNotFoundError:
            return  # it is made by hand, and need not be there

        matrix = results.load("comparison_matrix")
        cells = {(run["variant"], run["scenario"]) for run in check["runs"]}
        assert cells == {("point", "tiny"), ("yolov8", "crowd"), ("fcos", "nested")}
        for run in check["runs"]:
            expected = results.expected_range(matrix, run["variant"], run["scenario"])
            assert run["expected"] == pytest.approx(expected, abs=1e-4)
            assert run["agrees"] == (run["expected"][0] <= run["ap"] <= run["expected"][1])
            assert run["steps"] == matrix.run(run["variant"])["steps"]
            assert run["seed"] not in matrix.numbers(run["variant"], "seed")
            assert re.fullmatch(r"20\d\d-\d\d-\d\d", run["day"]) and run["hardware"]


class TestPublished:
    def test_each_row_is_complete_and_cited(self, root):
        table = results.published_detectors()
        keys = set(re.findall(r"^@\w+\{(\w+),", (root / "book/references.bib").read_text(), re.M))
        assert len(table) > 25
        for row in table:
            assert row.ap is None or 10 < row.ap < 70
            assert row.url.startswith("https://") and row.source and 2014 < row.year < 2027
            assert row.cite in keys, row.cite
            for name in ("split", "backbone", "input_size", "schedule", "speed", "licence"):
                assert getattr(row, name), f"{row.method}: say 'not found' for {name}"

    def test_all_families_to_the_newest(self):
        methods = " ".join(row.method for row in results.published_detectors())
        for name in (
            *("Faster R-CNN", "Cascade", "RetinaNet", "FCOS", "ATSS", "CenterNet", "YOLOv1"),
            *("YOLOv2", "YOLOv3", "YOLOX", "YOLOv8", "YOLO11", "YOLO26", "YOLOv10", "DETR"),
            *("Deformable", "DAB", "DN-", "DINO", "RT-DETR", "RT-DETRv2", "D-FINE", "DEIM"),
            *("RF-DETR", "Co-DETR", "RT-DETRv4", "ECDet"),
        ):
            assert name in methods

    def test_oldest_first_and_a_table(self):
        table = results.published_detectors()
        years = [row.year for row in table]
        assert years == sorted(years) and years.count(2026) > 1
        made = table.where(lambda row: row.ap is None)._repr_html_()
        assert made.count("<tr>") == 1 + 2 * 2 and made.count("not found") > 4
        assert len(table.where(lambda row: row.year > 2024)) < len(table)

    def test_the_files_are_shipped(self, root):
        assert "results/published/*.json" in (root / "pyproject.toml").read_text()
        for file in (published.FILE, published.YARDSTICK_FILE):
            assert json.loads(file.read_text("utf-8"))["rows"]

    def test_what_is_said_is_said_to_a_reader(self):
        """No word of how the rows were gathered; a copy that was read is called a copy."""
        for row in results.published_detectors():
            words = " ".join(str(getattr(row, name)) for name in row.__dataclass_fields__)
            assert "excerpt" not in words, row.method
            if "README of a copy" in row.source:
                assert "the original stands at" in row.note, row.method
                assert row.note.split()[-1] not in row.url

    def test_the_largest_of_rf_detr_is_not_under_the_licence_of_the_smaller(self):
        rows = {row.method: row for row in results.published_detectors()}
        assert rows["RF-DETR-M"].licence == "Apache-2.0"
        assert rows["RF-DETR-2XL"].licence.startswith("PML 1.0")
        assert rows["RF-DETR-2XL"].input_size == "880"


class TestOneYardstick:
    def test_the_rows_of_its_source(self):
        table = results.one_yardstick()
        rows = {row.method: row for row in table}
        assert len(rows) == len(table) == 15
        assert rows["YOLO11-M"] == published.Measured("YOLO11-M", 48.6, 64.1, 5.1, 20.1, 640, 51.5)
        assert rows["YOLO26-M"] == published.Measured("YOLO26-M", 52.5, 69.7, 4.4, 20.1, 640, 53.1)
        assert (rows["RF-DETR-2XL"].ms, rows["RF-DETR-2XL"].input_size) == (17.2, 880)
        assert table.url.startswith("https://") and "T4" in table.method

    def test_in_each_family_larger_is_more_accurate_and_slower(self):
        """A row that slipped, or two numbers that were exchanged, break this order."""
        families = {}
        for row in results.one_yardstick():
            families.setdefault(row.method.rpartition("-")[0], []).append(row)
        assert len(families) == 5
        for rows in families.values():
            assert len(rows) == 3
            for name in ("ap", "ap50", "ms", "parameters"):
                values = [getattr(row, name) for row in rows]
                assert values == sorted(set(values))
            assert all(row.ap < row.ap50 for row in rows)

    def test_a_method_is_no_better_there_than_its_own_source_says(self):
        """RF-DETR measured itself both times; the others lose."""
        own = {row.method: row.own - row.ap for row in results.one_yardstick() if row.own}
        assert set(own) == {"RF-DETR-M", "RF-DETR-2XL", "YOLO11-M", "YOLO26-M"}
        assert own["RF-DETR-M"] == own["RF-DETR-2XL"] == 0
        assert own["YOLO11-M"] == pytest.approx(2.9) and own["YOLO26-M"] == pytest.approx(0.6)

    def test_a_notebook_shows_it_with_its_source(self):
        table = results.one_yardstick()
        page = table._repr_html_()
        assert page.count('scope="row"') == 15 and page.count("<td") == 15 * 6
        assert f'href="{table.url}"' in page and "200 ms" in page and "RF-DETR" in table.note
        first = re.search(r"<tr><th[^>]*>RF-DETR-M</th>(.*?)</tr>", page)[1]
        numbers = re.findall(r">([^<>]*)</td>", first)
        assert numbers == ["54.7", "54.7", "73.6", "4.4", "33.7", "576"]
        assert "YOLO11-L: AP 49.9 in 6.5 ms" in str(table)


class TestWhatTheExercisesAsk:
    def test_the_interval_is_that_of_the_matrix(self):
        aps = {"a": [{"x": 0.6, "y": 0.2}, {"x": 0.7, "y": 0.5}, {"x": 0.3, "y": 0.1}]}
        matrix = results.failure_matrix(matrix_result(aps))
        rows = torch.tensor([[0.6, 0.2], [0.7, 0.5], [0.3, 0.1]])
        found = results.relative_interval(rows, 4.302653)
        for scenario, row in zip("xy", found.tolist()):
            assert row == pytest.approx(matrix.cell("a", scenario), abs=1e-5)

    def test_the_range_of_a_new_seed_by_hand(self):
        """Variances .02 and 0, their mean .01, s = .1; half 2 · .1 · √1.5."""
        found = results.new_seed_range(torch.tensor([[0.4, 0.6], [0.7, 0.7]]), 2.0)
        assert found.flatten().tolist() == pytest.approx(
            [0.255051, 0.744949, 0.455051, 0.944949], abs=1e-6
        )

    def test_the_range_of_a_new_seed_is_the_expected_one(self):
        """Three detectors of four seeds each: nine degrees of freedom."""
        # No seed reaches less than half of another: none has fallen.
        drawn = 0.5 + 0.5 * torch.rand(3, 4, generator=torch.manual_seed(0))
        aps = {name: [{"x": float(ap)} for ap in row] for name, row in zip("abc", drawn)}
        found = results.new_seed_range(drawn, 2.262157)
        for name, row in zip("abc", found.tolist()):
            wanted = results.expected_range(matrix_result(aps), name, "x")
            assert row == pytest.approx(wanted, abs=1e-5)

    def test_whom_nobody_beats_by_hand(self):
        costs, aps = torch.tensor([4.0, 9.0, 6.0, 4.0]), torch.tensor([0.5, 0.7, 0.4, 0.5])
        assert results.cost_front(costs, aps).tolist() == [True, True, False, True]
        assert results.cost_front(costs[:0], aps[:0]).tolist() == []

    def test_who_learns_an_object_is_counted(self):
        assigned = torch.tensor([[0, 2, -1, 0], [-2, -1, 1, 1]])
        assert places_per_object(assigned, 3).tolist() == [[2, 0, 1], [0, 2, 0]]


class TestRelativeLatency:
    def test_by_hand(self):
        """A warm round, one in which the machine is three times as slow, a pause: 2, 2, 2.2, 11."""
        rows = [[90.0, 60.0], [10.0, 20.0], [30.0, 60.0], [10.0, 22.0], [10.0, 110.0]]
        found = results.relative_latency(torch.tensor(rows), warm_rounds=1)
        assert found.tolist() == pytest.approx([1.0, 2.1])

    def test_against_statistics(self):
        times = 1 + torch.rand(7, 3, dtype=torch.float64, generator=torch.manual_seed(0))
        wanted = [statistics.median((times[2:, d] / times[2:, 0]).tolist()) for d in range(3)]
        assert results.relative_latency(times, 2).tolist() == pytest.approx(wanted)
