"""Library, Sweep, Try it, and what Runs and Compare say, without a browser."""

from __future__ import annotations

import re
import xml.etree.ElementTree

import pytest

from lab.design import catalogue
from lab.design.nearest import neighbours
from lab.ui import map as space
from lab.ui import published, views_library

NASTY = "<img src=x onerror=alert(1)>"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_library_shows_every_method(language):
    shown = views_library.gallery(language)
    for name in catalogue.names("methods"):
        assert f'id="method-{name}"' in shown and f'href="./?method={name}"' in shown
    assert shown.count("<svg") == 1 + len(catalogue.names("methods"))
    assert shown.count("$$") >= 2 * len(catalogue.names("methods"))
    assert "\n" not in shown, "a blank line would end the HTML inside Markdown"
    assert len(re.findall(r'id="([^"]+)"', shown)) == len(set(re.findall(r'id="([^"]+)"', shown)))


def test_published_numbers_stand_at_their_methods():
    found = [point for point in published.of_method("mam") if point.task == "xsum" and point.metric == "rouge2"]
    assert [(point.value, point.percent) for point in found] == [(21.90, 6.7)]
    assert "21.9" in views_library.gallery("en")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_map_has_every_step(language):
    drawn = space.svg({"lora": NASTY}, language)
    root = xml.etree.ElementTree.fromstring(drawn)
    assert "<img" not in drawn
    assert len([node for node in root.iter() if (node.get("class") or "").startswith("way ")]) == len(neighbours())
    boxes = [(float(node.get("x")), float(node.get("y"))) for node in root.iter() if node.get("class") == "spot"]
    assert len(boxes) == len({name for one, other, _ in neighbours() for name in (one, other)})
    for i, (x, y) in enumerate(boxes):
        assert all(abs(x - u) >= space.BOX or abs(y - v) >= space.TALL for u, v in boxes[:i]), "boxes overlap"
