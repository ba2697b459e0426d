"""Stored results: written with their provenance, read back, and all committed ones are complete."""

import json

import pytest
import torch

from detlearn import results

STORED = sorted(path.stem for path in results.FOLDER.glob("*.json"))


def test_what_is_stored_comes_back_with_its_provenance(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    result = {"rows": [{"ap": 0.25, "boxes": [[1.0, 2.0, 3.0, 4.5], []]}], "note": "a [b, c] {d}"}
    path = results.store("table", result, command="python run.py", seeds=[3, 4])
    back = results.load("table")
    provenance = back.pop("provenance")
    assert back == result
    assert path == tmp_path / "table.json"
    assert (provenance["command"], provenance["seeds"]) == ("python run.py", [3, 4])
    assert provenance["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert provenance["hardware"]


def test_a_box_is_stored_on_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    path = results.store("t", {"boxes": [[1, 2, 3, 4]]}, command="c", seeds=[])
    assert any(line.strip() == "[ 1, 2, 3, 4 ]" for line in path.read_text().splitlines())


def test_an_unknown_result_lists_the_known_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    with pytest.raises(FileNotFoundError, match="'absent'; there are: none"):
        results.load("absent")
    results.store("here", {}, command="c", seeds=[])
    with pytest.raises(FileNotFoundError, match="there are: here"):
        results.load("absent")


def test_detections_become_tensors_also_where_there_are_none():
    full = {"boxes": [[0, 0, 2, 1.5]], "scores": [0.5], "labels": [7]}
    empty = {"boxes": [], "scores": [], "labels": []}
    first, second = results.as_tensors([full, empty])
    assert first["boxes"].tolist() == [[0.0, 0.0, 2.0, 1.5]] and first["labels"].tolist() == [7]
    assert second["boxes"].shape == (0, 4) and second["scores"].shape == (0,)
    assert first["labels"].dtype == second["labels"].dtype == torch.int64


@pytest.mark.parametrize("name", STORED)
def test_each_committed_result_names_a_script_that_is_there(name, root):
    provenance = json.loads((results.FOLDER / f"{name}.json").read_text())["provenance"]
    program, script = provenance["command"].split()[:2]
    assert program == "python" and (root / script).is_file()
    assert provenance["seeds"] and provenance["versions"]["torch"] != "missing"


def test_there_are_committed_results():
    assert {"point_bccd", "point_preview"} <= set(STORED)
