"""Stored results: one form for all, written with their provenance, read back and compared."""

import json

import pytest
import torch

from detlearn import results
from detlearn.results import stored

STORED = sorted(path.stem for path in stored.FOLDER.glob("*.json"))
RUNS = [
    {"variant": "a", "seed": 0, "ap": 0.25, "ap50": 0.5, "seconds": 60},
    {"variant": "a", "seed": 1, "ap": 0.75, "ap50": 0.5, "seconds": 62},
    {"variant": "b, c", "seed": 1, "ap": 0.5, "ap50": 0.875, "seconds": 61},
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder of results."""
    monkeypatch.setattr(stored, "FOLDER", tmp_path)
    return tmp_path


class TestStore:
    def test_comes_back_with_its_provenance(self, folder):
        settings = {"steps": 3, "note": "a [b, c] {größer}"}
        detections = [{"boxes": [[1.0, 2.0, 3.0, 4.5]], "scores": [0.5], "labels": [7]}]
        path = results.store(
            "table",
            settings,
            RUNS,
            command="python run.py",
            preview={"seed": 20, "detections": detections},
        )
        assert path == folder / "table.json"
        back = results.load("table")
        assert list(back) == ["name", "settings", "runs", "preview", "provenance"]
        assert back["name"] == "table" and back["settings"] == settings and back["runs"] == RUNS
        assert back["preview"]["detections"] == detections

        provenance = back["provenance"]
        assert (provenance["command"], provenance["seeds"]) == ("python run.py", [0, 1, 20])
        assert provenance["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
        assert provenance["hardware"]

    def test_without_a_preview(self, folder):
        results.store("table", {}, RUNS[:1], command="c")
        assert "preview" not in results.load("table")
        assert results.load("table")["provenance"]["seeds"] == [0]

    def test_a_box_is_stored_on_one_line(self, folder):
        path = results.store("t", {"boxes": [[1, 2, 3, 4]]}, [], command="c")
        assert any(line.strip() == "[ 1, 2, 3, 4 ]" for line in path.read_text().splitlines())

    def test_an_unknown_result_lists_the_known_ones(self, folder):
        with pytest.raises(FileNotFoundError, match="'absent'; there are: none"):
            results.load("absent")
        results.store("here", {}, [], command="c")
        with pytest.raises(FileNotFoundError, match="there are: here"):
            results.load("absent")


class TestResult:
    @pytest.fixture
    def result(self):
        return results.Result(name="table", settings={}, runs=RUNS, provenance={})

    def test_what_is_asked_of_it(self, result):
        assert result.variants() == ["a", "b, c"]
        assert result.runs("a") == RUNS[:2] and result.runs("b, c") == RUNS[2:]
        assert result.run("a") == RUNS[0] and result.run("b, c") == RUNS[2]
        assert result.numbers("a", "ap") == [0.25, 0.75]
        assert result.mean("a", "ap") == 0.5 and result.mean("b, c", "ap50") == 0.875

    def test_what_is_not_there(self, result):
        with pytest.raises(ValueError, match="table has no variant 'd'; there are: a, b, c"):
            result.mean("d", "ap")
        with pytest.raises(ValueError, match=r"the runs of 'a' have no 'ar'; they have: .*ap50"):
            result.mean("a", "ar")


class TestHardware:
    """Where runs were made: what a record says, and no more."""

    def result(self, *machines, last="the last one"):
        runs = [
            {"variant": "ab"[i % 2], "seed": i, **({"hardware": machine} if machine else {})}
            for i, machine in enumerate(machines)
        ]
        return results.Result(name="t", runs=runs, provenance={"hardware": last})

    def test_each_machine_once_in_the_order_of_the_runs(self):
        result = self.result("x", "y", "x", "x")
        assert result.hardware() == ["x", "y"]
        assert result.hardware("a") == ["x"] and result.hardware("b") == ["y", "x"]

    def test_a_run_that_does_not_say_so_beside_others_is_not_recorded(self):
        assert self.result("x", None, None).hardware() == ["x", "not recorded"]
        assert self.result("x", None, None).hardware("b") == ["not recorded"]

    def test_of_an_old_file_it_is_the_one_of_the_provenance(self):
        assert self.result(None, None).hardware() == ["the last one"]

    def test_an_unknown_variant(self):
        with pytest.raises(ValueError, match="no variant 'c'"):
            self.result("x").hardware("c")

    def test_the_first_runs_of_the_choices_are_not_recorded(self):
        result = results.load("point_choices")
        assert result.hardware("as it is") == ["not recorded"]
        assert len(result.hardware("cross-entropy")) == 2


class TestCompare:
    @pytest.fixture
    def result(self):
        return results.Result(name="table", settings={}, runs=RUNS, provenance={})

    def test_by_hand(self, result):
        """The deviation of 0.25 and 0.75 is 0.25; one seed has none."""
        table = results.compare(result, ["ap", "ap50"])
        assert str(table) == (
            "variant  ap             ap50           seeds\n"
            "a        0.500 ± 0.250  0.500 ± 0.000  2\n"
            "b, c     0.500          0.875          1"
        )
        assert repr(table) == str(table)
        assert table._repr_markdown_() == (
            "| variant | ap | ap50 | seeds |\n"
            "|:--|--:|--:|--:|\n"
            "| a | 0.500 ±~0.250 | 0.500 ±~0.000 | 2 |\n".replace("~", "\u00a0")
            + "| b, c | 0.500 | 0.875 | 1 |"
        )

    def test_some_variants_in_another_order(self, result):
        table = results.compare(result, ["ap50"], ["b, c", "a"])
        assert [line.split("  ")[0] for line in str(table).splitlines()] == ["variant", "b, c", "a"]

    def test_what_is_not_there(self, result):
        with pytest.raises(ValueError, match="no variant 'd'"):
            results.compare(result, ["ap"], ["d"])
        with pytest.raises(ValueError, match="have no 'ap75'"):
            results.compare(result)

    def test_of_a_committed_result(self):
        """What chapter 6 says: 0.514 ± 0.009 with the CIoU loss."""
        assert "ciou     0.514 ± 0.009" in str(results.compare(results.load("box_losses")))


def test_detections_become_tensors_also_where_there_are_none():
    full = {"boxes": [[0, 0, 2, 1.5]], "scores": [0.5], "labels": [7]}
    empty = {"boxes": [], "scores": [], "labels": []}
    first, second = results.as_tensors([full, empty])
    assert first["boxes"].tolist() == [[0.0, 0.0, 2.0, 1.5]] and first["labels"].tolist() == [7]
    assert second["boxes"].shape == (0, 4) and second["scores"].shape == (0,)
    assert first["labels"].dtype == second["labels"].dtype == torch.int64


@pytest.mark.parametrize("name", STORED)
class TestCommitted:
    def test_names_a_script_that_is_there(self, name, root):
        provenance = results.load(name)["provenance"]
        program, script = provenance["command"].split()[:2]
        assert program == "python" and (root / script).is_file()
        assert provenance["seeds"] and provenance["versions"]["torch"] != "missing"
        assert provenance["hardware"]

    def test_all_of_its_runs_say_where_they_were_made_or_none_does(self, name):
        result = results.load(name)
        assert len({"hardware" in run for run in result["runs"]}) == 1
        assert all(result.hardware())

    def test_has_the_common_form(self, name):
        result = json.loads((stored.FOLDER / f"{name}.json").read_text("utf-8"))
        keys = ["name", "settings", "runs", "preview", "picture", "provenance"]
        assert list(result) == [key for key in keys if key in result]
        assert set(keys) - set(result) <= {"preview", "picture"}
        assert result["name"] == name and result["settings"] and result["runs"]

        pairs = [(run["variant"], run["seed"]) for run in result["runs"]]
        assert len(set(pairs)) == len(pairs)
        seeds = {seed for _, seed in pairs}
        if "preview" in result:
            seeds.add(result["preview"]["seed"])
            assert len(results.as_tensors(result["preview"]["detections"])) == 8
        assert result["provenance"]["seeds"] == sorted(seeds)


def test_there_are_committed_results():
    wanted = {"box_losses", "faster_rcnn_bccd", "point_bccd", "point_preview", "two_stage"}
    assert wanted <= set(STORED)
