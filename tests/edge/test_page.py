"""The HTML page: self-contained, safe with any file name, complete."""

import json
import re

import numpy as np
from tiny_bundles import draw_chest, write_image

from covidcx.bundle import Bundle
from covidcx.edge.predict import predict_files
from covidcx.edge.report import write_page
from covidcx.finding import DISCLAIMER, Finding


def _findings(text: str) -> list[dict]:
    return [json.loads(line) for line in re.findall(r"^FINDINGS\.push\((.*)\);$", text, re.MULTILINE)]


def test_page_is_one_file_that_fetches_nothing(tiny, tmp_path):
    write_image(tmp_path / "in" / "chest.png", draw_chest(0.9)[0])
    (tmp_path / "in" / "bad.dcm").write_text("x")
    page = predict_files([tmp_path / "in"], tiny, tmp_path / "out").page
    text = page.read_text()
    assert not re.search(r"(src|href|url)\s*[=(]\s*[\"']?(?!data:)(https?:|//|/|\.)", text)
    assert "default-src 'none'" in text and DISCLAIMER in text
    bad, good = _findings(text)
    assert good["drawn"].startswith("data:image/jpeg;base64,") and good["plain"] != good["drawn"]
    assert good["label"] == "covid" and bad["status"] == "error" and bad["drawn"] is None and bad["reason"]


def test_operating_points_are_handed_to_the_page(tiny, tmp_path):
    write_page(tmp_path / "page.html", [(Finding("a", "ok", "covid", {"covid": 1.0}), None, None)], Bundle.open(tiny))
    assert 'POINTS = {"covid": 0.3};' in (tmp_path / "page.html").read_text()


def test_file_name_cannot_break_out_of_the_script(tiny, tmp_path):
    name = "</script><img src=x onerror=alert(1)>\u2028'\"\\"
    finding = Finding(name, "error", reason="<b>" + name)
    write_page(tmp_path / "page.html", [(finding, None, None)], Bundle.open(tiny))
    text = (tmp_path / "page.html").read_text()
    assert text.count("</script>") == 1 and "<img src=x" not in text and "\u2028" not in text
    assert _findings(text)[0]["source"] == name


def test_unreadable_picture_does_not_spoil_the_page(tiny, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    items = [(Finding("a", "ok", "covid", {"covid": 1.0}), tmp_path / "broken.png", tmp_path / "broken.png")]
    write_page(tmp_path / "page.html", items, Bundle.open(tiny))
    assert _findings((tmp_path / "page.html").read_text())[0]["drawn"] is None


def test_large_batches_get_smaller_pictures(tiny, tmp_path):
    picture = write_image(tmp_path / "p.png", np.random.default_rng(0).random((800, 800)))
    item = (Finding("a", "ok", "covid", {"covid": 1.0}), picture, picture)
    sizes = []
    for count in (1, 101):
        write_page(tmp_path / "page.html", [item] * count, Bundle.open(tiny))
        sizes.append((tmp_path / "page.html").stat().st_size / count)
    assert sizes[1] < 0.6 * sizes[0]
