from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from helpers.chromium import browse, needs_chromium
from helpers.report_example import example_report
from PIL import Image

from anoclust_core.reporting.html import render_report

pytestmark = [pytest.mark.slow, needs_chromium]


def browse_report(html: str, folder: Path, *extra: str) -> tuple[str, str]:
    """Open a page from the disk; give what `browse` does."""
    page = folder / "report.html"
    page.write_text(html, encoding="utf-8")
    return browse(page.as_uri(), folder, *extra)


def test_every_picture_decodes_and_the_console_is_silent(tmp_path: Path) -> None:
    """Opened from the disk, the report shows all its thumbnails and heat maps and reports no error."""
    html = render_report(example_report(40, 4))
    dom, console = browse_report(html, tmp_path, "--dump-dom")
    assert console == ""
    counted = re.search(r'<html[^>]* data-pictures="(\d+)/(\d+)"', dom)
    assert counted is not None
    # One photograph and one heat map per image and per overview row, and the legend.
    assert counted.groups() == (str(2 * 40 + 2 * 4 + 1),) * 2
    assert "broken" not in re.findall(r'<img class="([^"]*)"', dom)


def test_a_smuggled_script_or_request_is_blocked(tmp_path: Path) -> None:
    """Even if foreign markup got into the page, the browser would refuse to run it or to load anything."""
    smuggled = '<script>document.title = "owned"</script><img src="http://127.0.0.1:9/x.png">'
    html = render_report(example_report()).replace("</main>", smuggled + "</main>")
    dom, console = browse_report(html, tmp_path, "--dump-dom")
    assert "<title>owned</title>" not in dom
    assert console.count("Content Security Policy") >= 2


def test_the_page_follows_the_reader_into_the_dark(tmp_path: Path) -> None:
    """The page is light by default and dark for a reader whose system is dark."""
    html = render_report(example_report())
    brightness = {}
    for scheme, value in (("dark", 0), ("light", 1)):
        picture = tmp_path / f"{scheme}.png"
        browse_report(html, tmp_path, f"--screenshot={picture}", f"--blink-settings=preferredColorScheme={value}")
        brightness[scheme] = np.asarray(Image.open(picture).convert("L")).mean()
    assert brightness["dark"] < 80 < 200 < brightness["light"]


def test_the_page_reads_without_javascript(tmp_path: Path) -> None:
    """With scripts switched off the page looks the same, apart from the controls that would not work."""
    html = render_report(example_report())
    without_scripts = re.sub(r"script-src '[^']*'", "script-src 'none'", html)
    shades = []
    for name, text in (("with.png", html), ("without.png", without_scripts)):
        browse_report(text, tmp_path, f"--screenshot={tmp_path / name}")
        shades.append(np.asarray(Image.open(tmp_path / name).convert("L"), dtype=float))
    assert without_scripts != html
    assert np.abs(shades[0] - shades[1]).mean() < 3.0
