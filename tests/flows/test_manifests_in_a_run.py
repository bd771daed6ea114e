"""Manifests as people write them, through whole runs: what is told in the terminal, the report and the summary."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from helpers.builders import flat_folder, tiny_config
from helpers.running import assignments, cluster_by_content, run_folder, run_one
from typer.testing import CliRunner

from anoclust_core.errors import DatasetError
from flows.cli import app
from flows.run import run_data
from flows.terminal import progress

pytestmark = pytest.mark.usefixtures("prefect_db")

IMAGES = [f"teil/{number:03d}.png" for number in range(6)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    flat_folder(tmp_path / "data" / "teil", range(6))
    return tmp_path / "data"


def manifest(folder: Path, rows: list[str], header: str = "path,category,label") -> Path:
    (folder / "m.csv").write_bytes("\n".join([header, *rows]).encode())
    return folder / "m.csv"


def test_bad_rows_change_no_cluster_and_are_told(folder, tmp_path, checkpoint):
    """Bad rows leave the clusters of the others as they are; terminal, report and summary tell each reason once."""
    config = tiny_config(checkpoint, n_clusters=2)
    good = [f"{path},teil," for path in IMAGES]
    plain = run_one(manifest(folder, good), tmp_path / "plain", config)
    bad = [f"{'x' * 300}.png,teil,", "teil/000.png,teil,la\0bel", "gone.png,teil,", "also.png,teil,"]
    outcome = run_one(
        manifest(folder, [*good[:3], *bad[:2], *good[3:], *bad[2:]]),
        tmp_path / "store",
        config.model_copy(update={"data": config.data.model_copy(update={"max_bad_share": 0.5})}),
    )
    assert cluster_by_content(outcome) == cluster_by_content(plain)
    images = outcome.summary["images"]
    assert (images["total"], images["clustered"], images["quarantined"]) == (10, 6, 4)
    reasons = {entry["path"]: entry["reason"] for entry in outcome.summary["quarantine"]}
    assert reasons == {
        f"{'x' * 300}.png": "line 5: cannot be read: File name too long",
        "teil/000.png": "line 6: holds a zero byte in the column label, which no name has; write that cell again",
        "gone.png": "line 10: cannot be read: No such file or directory",
        "also.png": "line 11: cannot be read: No such file or directory",
    }
    once = "2 rows: cannot be read: No such file or directory (first: line 10, gone.png)"
    assert f"{once}." in outcome.summary["notes"]
    told = progress.outcome_lines(outcome)
    assert told.count("No such file") == 1
    assert (
        f"4 files could not be used; see the report for which and why\n    {once}\n    line 6, teil/000.png: holds"
        in told
    )
    assert "\n    line 5, xxx" in told
    html = (run_folder(outcome) / "report.html").read_text(encoding="utf-8")
    aside = html[html.index('id="quarantine"') : html.index('id="clusters"')]
    assert aside.count("No such file") == 1
    for words in ("4 images could not be used", "gone.png", "also.png", "line 11"):
        assert words in aside


def test_a_thousand_equal_reasons_are_one(folder, tmp_path, checkpoint):
    """A long list of one reason is one line of the report with its number; every file is in the fold below it."""
    rows = [*(f"{path},teil," for path in IMAGES), *(f"gone{n}.png,teil," for n in range(1204))]
    data = manifest(folder, rows)
    outcome = run_one(data, tmp_path / "store", tiny_config(checkpoint, n_clusters=2, max_bad_share=1))
    html = (run_folder(outcome) / "report.html").read_text(encoding="utf-8")
    aside = html[html.index('id="quarantine"') : html.index('id="clusters"')]
    assert aside.count("No such file") == 1
    assert "and 1,201 more" in aside
    assert all(f"gone{n}.png" in aside for n in range(1204))
    assert progress.outcome_lines(outcome).count("\n") < 6
    (failed,) = run_data(data, tmp_path / "other", tiny_config(checkpoint))
    assert "1,204 rows: cannot be read: No such file or directory (first: line 8, gone0.png)" in str(failed.error)
    assert isinstance(failed.error, DatasetError)


def test_other_categories_are_run(folder, tmp_path, checkpoint):
    """A category of nothing but bad rows fails with exit code 3; the others are finished."""
    rows = [*(f"{path},teil," for path in IMAGES), f"{'x' * 300}.png,nut,", "y.png,nut,"]
    nut, teil = run_data(manifest(folder, rows), tmp_path / "store", tiny_config(checkpoint, n_clusters=2))
    assert nut.error is not None
    assert nut.error.exit_code == 3
    assert "line 8" in str(nut.error)
    assert teil.error is None
    assert teil.summary["images"]["quarantined"] == 0


def test_what_was_guessed_is_told(folder, tmp_path, checkpoint):
    """What was guessed of a manifest is told in the terminal, the report and the summary; labels keep their letters."""
    text = "Path;Category;Label\r\n" + "".join(f"{path};teil;Prüfling\r\n" for path in IMAGES).replace("/", "\\")
    (folder / "m.csv").write_bytes(text.encode("cp1252"))
    outcome = run_one(folder / "m.csv", tmp_path / "store", tiny_config(checkpoint, n_clusters=2))
    assert set(assignments(outcome)["label"]) == {"Prüfling"}
    html = (run_folder(outcome) / "report.html").read_text(encoding="utf-8")
    for words in ("read as Windows-1252, which is a guess", "read with semicolons", "6 paths are written with \\"):
        assert words in progress.outcome_lines(outcome)
        assert any(words in note for note in outcome.summary["notes"])
        assert words in html
    assert re.search(r"Pr(ü|&#252;)fling", html)


def test_the_lines_come_with_the_command(folder, tmp_path, checkpoint):
    """The command itself ends well, prints the reasons, and its JSON is whole."""
    data = manifest(folder, [*(f"{path},teil," for path in IMAGES), "C:\\a.png,teil,"])
    arguments = ["run", str(data), "--store", str(tmp_path / "store"), "--n-clusters", "2", "--settle-seconds", "0"]
    arguments += ["--backbone", "test_resnet", "--checkpoint", str(checkpoint), "--image-size", "64", "--device", "cpu"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "line 8, C:\\a.png: is a path of Windows with a letter for a drive" in result.stdout
    (found,) = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert found["summary"]["images"]["quarantined"] == 1
