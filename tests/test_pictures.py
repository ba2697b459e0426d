"""Stored pictures: they come back as they were stored and say where they are from."""

import base64
import re

import numpy as np
import pytest
from PIL import Image

from detlearn import results
from detlearn.results import pictures, stored

PICTURE = {"alt": 'Two "cells" & a box', "source": "Somebody 2020", "licence": "MIT licence"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "FOLDER", tmp_path)
    monkeypatch.setattr(pictures, "FOLDER", tmp_path)
    return tmp_path


def noise(side):
    values = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(values)


def store(image):
    runs = [{"variant": "a", "seed": 0, "seconds": 1}]
    results.store("cells", {}, runs, command="python draw.py", picture=PICTURE)
    results.store_picture("cells", image)


def test_a_picture_comes_back_with_its_words(folder):
    store(Image.new("RGB", (400, 300), (200, 30, 30)))
    picture = results.figure("cells")

    assert picture.image().size == (400, 300)
    pixel = picture.image().convert("RGB").getpixel((200, 150))
    assert all(abs(a - b) <= 3 for a, b in zip(pixel, (200, 30, 30)))
    assert {key: getattr(picture, key) for key in PICTURE} == PICTURE
    assert "Somebody 2020" in repr(picture) and "MIT licence" in repr(picture)


def test_the_page_shows_it_at_half_size_with_its_source(folder):
    store(Image.new("RGB", (400, 300)))
    html = results.figure("cells")._repr_html_()

    assert 'width="200" height="150"' in html
    assert 'alt="Two &quot;cells&quot; &amp; a box"' in html
    assert "Somebody 2020, MIT licence." in html
    data = re.search(r'src="data:image/webp;base64,([^"]+)"', html)[1]
    assert base64.b64decode(data) == results.figure("cells").data


def test_quality_gives_way_to_size(folder):
    store(noise(400))
    assert 50_000 < len(results.figure("cells").data) <= pictures.MOST_BYTES


def test_too_large_a_picture_is_refused_and_nothing_written(folder):
    with pytest.raises(ValueError, match=r"cells has \d+ bytes.*draw it smaller than 1200 × 1200"):
        results.store_picture("cells", noise(1200))
    assert not list(folder.iterdir())


def test_an_unknown_name_lists_what_there_is(folder):
    store(Image.new("RGB", (40, 30)))
    with pytest.raises(
        FileNotFoundError, match="no stored picture called 'cell'; there are: cells"
    ):
        results.figure("cell")


def test_every_stored_picture_is_small_and_says_where_it_is_from():
    for path in stored.FOLDER.glob("*.webp"):
        picture = results.figure(path.stem)
        assert len(picture.data) <= pictures.MOST_BYTES
        assert picture.alt and picture.source and picture.licence


def test_a_result_without_a_picture_says_how_its_numbers_are_read(folder):
    results.store("table", {}, [{"variant": "a", "seed": 0}], command="python draw.py")
    with pytest.raises(FileNotFoundError, match=r"numbers alone: results.load\('table'\)"):
        results.figure("table")


def test_a_picture_that_was_lost_says_what_draws_it(folder):
    store(Image.new("RGB", (40, 30)))
    (folder / "cells.webp").unlink()
    with pytest.raises(FileNotFoundError, match=r"there are: none; cells.json .* python draw.py"):
        results.figure("cells")


def test_a_picture_without_its_result_is_refused(folder):
    results.store_picture("cells", Image.new("RGB", (40, 30)))
    with pytest.raises(FileNotFoundError, match=r"cells.webp is there, but not cells.json"):
        results.figure("cells")


@pytest.mark.parametrize("lost", ["alt", "source", "licence"])
def test_a_picture_without_words_is_refused(folder, lost):
    store(Image.new("RGB", (40, 30)))
    path = folder / "cells.json"
    path.write_text(path.read_text().replace(f'"{lost}"', '"other"'))
    with pytest.raises(ValueError, match=f'cells.json lacks {lost} in its "picture"'):
        results.figure("cells")

    results.store("cells", {}, [{"variant": "a", "seed": 0}], command="python draw.py")
    with pytest.raises(ValueError, match=r"cells.json lacks alt, source, licence"):
        results.figure("cells")
