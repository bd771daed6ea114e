from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from helpers.builders import TINY_BACKBONE, TINY_SIDE, flat_folder, mvtec_category
from typer.testing import CliRunner, Result

from flows.cli import app
from tasks.images.manifests.manifest_rows import ENDINGS, NEEDED, OPTIONAL


def anoclust(*arguments: object, columns: int = 200) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": str(columns)})


def tiny(checkpoint: Path) -> list[object]:
    return [
        *("--backbone", TINY_BACKBONE, "--checkpoint", checkpoint),
        *("--image-size", TINY_SIDE, "--device", "cpu"),
    ]


def paragraph(result: Result) -> str:
    """Message of a refused command: one paragraph on stderr, without a traceback."""
    message = result.stderr.strip()
    assert "Traceback" not in result.output
    assert message.startswith("anoclust: ")
    assert "\n" not in message
    return message


@pytest.fixture
def board(tmp_path: Path) -> Path:
    return flat_folder(tmp_path / "board", range(4))


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ([], ["run", "demo", "show", "prepare", "export", "store", "config", "anoclust demo"]),
        (["show"], ["category", "--limit", "--json", "--store", "report"]),
        (["store"], ["size", "check", "gc"]),
        (["store", "check"], ["--category", "--json", "checksum", "exit code 4"]),
        (["store", "gc"], ["--keep", "--dry-run", "--wait-seconds", "90d", "latest.json"]),
        (["config"], ["show", "init", "anoclust.toml"]),
        (["export", "maps"], ["--out", "--run", "latest.json"]),
        (["run"], ["--normals", "--splits", "--n-clusters", "--tau", "--backbone", "--dask", "report.html", "MVTec"]),
        (["demo"], ["--store", "--out", "--seed", "Nothing is downloaded"]),
        (["prepare"], ["demo", "mtd", "leaves", "xsdd", "mvtec"]),
        (["prepare", "mvtec"], ["manifest", "--out"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_help(command, words):
    """Every command explains itself with --help, and names what a user may set."""
    result = anoclust(*command, "--help")
    assert result.exit_code == 0
    for word in words:
        assert word in result.stdout


def test_help_tells_what_a_manifest_is():
    """`anoclust run --help` names every ending and every column that a manifest may have."""
    told = anoclust("run", "--help", columns=1000).stdout
    assert f"{' or '.join(ENDINGS)} with the columns {', '.join(NEEDED)} and optional {', '.join(OPTIONAL)};" in told


def test_help_of_backfill_tells_where_settings_come_from():
    """Some settings have flags, so that no sentence may say that all others come from elsewhere."""
    told = anoclust("backfill", "--help", columns=1000).stdout
    assert "Settings that have no flag here come from anoclust.toml" in told
    assert "--memory" in told


def test_help_is_quick_to_import():
    """--help imports neither torch nor Prefect."""
    code = (
        "import sys; from flows.cli import app\n"
        "try: app(['run', '--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(bool({'torch', 'timm', 'prefect', 'pandas', 'matplotlib'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--tau", "hot"], ["--tau takes a positive number", "'hot'"]),
        (["--tau", "-1"], ["--tau takes a positive number", "'-1'"]),
        (["--tau", "0sd"], ["tau", "'0sd'"]),
        (["--n-clusters", "0"], ["--n-clusters takes auto, a whole number from 1", "'0'"]),
        (["--n-clusters", "many"], ["--n-clusters", "'many'"]),
        (["--n-clusters", "2.5"], ["--n-clusters", "'2.5'"]),
        (["--recipe", "magic"], ["--recipe takes auto, sohn or blind", "'magic'"]),
        (["--splits", "train"], ["--splits takes test or all", "'train'"]),
        (["--image-size", "16"], ["--image-size", "32", "16"]),
        (["--device", "tpu"], ["--device takes auto, cpu, cuda", "'tpu'"]),
        (["--layers", "2;3"], ["--layers takes auto or numbers", "'2;3'"]),
        (["--normals", "golden"], ["--normals takes auto, none or a folder", "golden"]),
        (["--splits", "all", "--normals", "none"], ["--splits all", "--normals none"]),
        (["--category", "bord"], ["no category bord", "found board"]),
        (["--checkpoint", "gone.pth"], ["--checkpoint expects a file", "gone.pth"]),
        (["--n-clusters", "5", "--tau", "1"], ["--n-clusters 5: board has only 4 images"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) and value[0].startswith("--") else None,
)
def test_wrong_setting(tmp_path, board, checkpoint, arguments, words):
    """A wrong setting ends with exit code 2 and says what was expected and what was found."""
    own = [] if "--checkpoint" in arguments else tiny(checkpoint)
    if "--image-size" in arguments or "--device" in arguments:
        own = own[:4]
    result = anoclust("run", board, "--store", tmp_path / "store", *own, *arguments)
    assert result.exit_code == 2
    message = result.stderr
    assert "Traceback" not in result.output
    for word in words:
        assert word in message


def test_message_is_one_paragraph(tmp_path, board):
    """What went wrong is one paragraph that begins with the program's name, on standard error."""
    result = anoclust("run", board, "--store", tmp_path / "store", "--tau", "hot")
    assert paragraph(result)
    assert result.stdout == ""
    assert not (tmp_path / "store").exists()


def test_unknown_flag(board):
    """A misspelt flag is refused, not swallowed."""
    result = anoclust("run", board, "--n-cluster", "3")
    assert result.exit_code == 2
    assert "--n-cluster" in result.output


@pytest.mark.parametrize("empty", [False, True])
def test_no_data(tmp_path, empty):
    """A folder that is missing or without images ends with exit code 3."""
    if empty:
        (tmp_path / "data").mkdir()
    result = anoclust("run", tmp_path / "data", "--store", tmp_path / "store")
    assert result.exit_code == 3
    assert str(tmp_path / "data") in paragraph(result)


def test_debug_shows_the_traceback(tmp_path, board):
    """With --debug the error comes through with its traceback."""
    command = [sys.executable, "-c", "from flows.cli import main; main()"]
    arguments = ["run", str(board), "--store", str(tmp_path / "store"), "--tau", "hot"]
    plain = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    assert plain.returncode == 2
    assert "Traceback" not in plain.stderr
    debug = subprocess.run([*command, *arguments, "--debug"], capture_output=True, text=True, check=False)
    assert debug.returncode != 0
    assert "Traceback" in debug.stderr
    assert "ConfigError: --tau takes a positive number" in debug.stderr


@pytest.mark.usefixtures("prefect_db")
def test_run_says_what_it_did(tmp_path, checkpoint):
    """A run prints one row per category and the way to its report; the second time it says that nothing was to do."""
    flat_folder(tmp_path / "data" / "board", range(6))
    mvtec_category(tmp_path / "data" / "nut", {"test/good": 3, "test/hole": 3})
    (tmp_path / "data" / "nut" / "test" / "hole" / "fake.png").write_text("no image")
    arguments = ["run", tmp_path / "data", "--store", tmp_path / "store", *tiny(checkpoint)]
    first = anoclust(*arguments)
    assert first.exit_code == 0, first.output
    (report,) = (tmp_path / "store" / "runs" / "board").glob("*/report.html")
    assert str(report) in first.stdout
    assert "6 images embedded, 15 image pairs compared" in first.stdout
    assert "1 file could not be used" in first.stdout
    second = anoclust(*arguments)
    assert second.exit_code == 0
    assert second.stdout.count("nothing to do, this run is finished") == 2
    assert str(report) in second.stdout


@pytest.mark.usefixtures("prefect_db")
def test_one_failing_category(tmp_path, checkpoint):
    """A category that cannot be run is named on standard error and decides the exit code; the others are finished."""
    flat_folder(tmp_path / "data" / "single", [1])
    flat_folder(tmp_path / "data" / "board", range(6))
    result = anoclust("run", tmp_path / "data", "--store", tmp_path / "store", *tiny(checkpoint))
    assert result.exit_code == 3
    assert "single: failed: category single has 1 usable images" in result.stderr
    assert "Traceback" not in result.output
    assert list((tmp_path / "store" / "runs" / "board").glob("*/report.html"))


def test_one_category_of_several(tmp_path, checkpoint):
    """--category runs only what it names; here it names one that is too small, so that nothing else is touched."""
    flat_folder(tmp_path / "data" / "single", [1])
    flat_folder(tmp_path / "data" / "board", range(6))
    arguments = ["run", tmp_path / "data", "--store", tmp_path / "store", *tiny(checkpoint), "--category", "single"]
    assert anoclust(*arguments).exit_code == 3
    assert not (tmp_path / "store" / "runs" / "board").exists()


def test_store_from_the_environment(tmp_path, board, monkeypatch, checkpoint):
    """ANOCLUST_STORE names the store where --store is not given."""
    monkeypatch.setenv("ANOCLUST_STORE", str(tmp_path / "elsewhere"))
    (board / "000.png").unlink()
    for name in ("001.png", "002.png"):
        (board / name).unlink()
    assert anoclust("run", board, *tiny(checkpoint)).exit_code == 3
    assert (tmp_path / "elsewhere" / "backbones").is_dir()


def test_prepare_mvtec(tmp_path):
    """`prepare mvtec` writes a manifest of every image, tells the counts, and the manifest can be run."""
    mvtec_category(tmp_path / "data" / "nut", {"train/good": 2, "test/good": 1, "test/hole": 2})
    result = anoclust("prepare", "mvtec", tmp_path / "data", "--out", tmp_path / "manifest.csv")
    assert result.exit_code == 0, result.output
    assert "manifest.csv: 5 images" in result.stdout
    assert "nut, test: 3" in result.stdout
    assert list(pd.read_csv(tmp_path / "manifest.csv")["label"].value_counts().sort_index()) == [3, 2]


def test_prepare_mtd_tells_of_a_list_that_is_there(tmp_path):
    """A list of training images beside the tiles is named, with the flag for it; given with it, it is not."""
    (tmp_path / "tiles" / "MT_Free" / "Imgs").mkdir(parents=True)
    (tmp_path / "tiles" / "MT_Free" / "Imgs" / "a.jpg").touch()
    listed = tmp_path / "tiles" / "train.txt"
    listed.write_text("a.jpg")
    command = ("prepare", "mtd", tmp_path / "tiles", "--out", tmp_path / "m.csv")
    flag = f"--train-list {listed}"
    assert flag in " ".join(anoclust(*command).stdout.split())
    assert flag not in " ".join(anoclust(*command, "--train-list", listed).stdout.split())


def test_prepare_of_another_layout(tmp_path):
    """`prepare mvtec` of a folder that is no such data set ends with exit code 3 and says what was expected."""
    flat_folder(tmp_path / "board", range(2))
    result = anoclust("prepare", "mvtec", tmp_path / "board", "--out", tmp_path / "m.csv")
    assert result.exit_code == 3
    assert "expected the layout of MVTec AD" in paragraph(result)
    assert not (tmp_path / "m.csv").exists()
