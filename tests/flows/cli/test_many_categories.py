"""Many categories in one command: settings of their own, and one page at the end."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from helpers.builders import TINY_BACKBONE, TINY_SIDE, flat_folder
from typer.testing import CliRunner

from anoclust_core.errors import ConfigError, DatasetError
from flows.cli import app
from flows.cli.asked import Asked
from flows.deploy.deployments import given_settings
from flows.nights.outcome import NightOutcome
from flows.overview import write_nights_overview
from flows.settings import CATEGORY, FOR_ALL, SETTINGS, resolve
from tasks.images.choosing import choose_images
from tasks.stores.layout import StoreLayout
from tasks.stores.upkeep.inventory import store_size

FILE = """
seed = 2
[embed]
tiles = "2x2"
[category.bottle]
seed = 5
[category.bottle.embed]
tiles = "3x3"
[category."metal.nut".group]
n_clusters = "2:4"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Write a file with sections of two categories."""
    path = tmp_path / "anoclust.toml"
    path.write_text(FILE)
    return path


def test_a_category_has_its_own_settings(file: Path) -> None:
    """What its section says holds for it alone; what it does not say is as for all others."""
    config = resolve(file=file, environment={}).config
    assert (config.seed, config.of("bottle").seed, config.of("metal.nut").seed, config.of("screw").seed) == (2, 5, 2, 2)
    assert (config.of("bottle").embed.tiles, config.of("metal.nut").embed.tiles) == ("3x3", "2x2")
    assert config.of("metal.nut").group.bounds == (2, 4)
    assert config.of("bottle").group.bounds is None
    assert config.of("screw") is config


def test_flags_and_variables_beat_the_section(file: Path) -> None:
    """A section is a part of the file: variables and flags hold for every category."""
    config = resolve({"seed": 7}, file=file, environment={"ANOCLUST_EMBED__TILES": "1x2"}).config
    assert (config.of("bottle").seed, config.of("bottle").embed.tiles) == (7, "1x2")


def test_config_show_tells_the_sections(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`anoclust config show` prints what is set for single categories, and where; also for scripts."""
    monkeypatch.chdir(file.parent)
    table = CliRunner().invoke(app, ["config", "show"], env={"COLUMNS": "200"}).stdout
    rows = {line.split()[0]: line.split()[1:] for line in table.splitlines() if line.startswith(CATEGORY)}
    assert rows == {
        "category.bottle.seed": ["5", "anoclust.toml", "[category.bottle]"],
        "category.bottle.embed.tiles": ["3x3", "anoclust.toml", "[category.bottle]"],
        "category.metal.nut.group.n_clusters": ["2:4", "anoclust.toml", "[category.metal.nut]"],
    }
    found = json.loads(CliRunner().invoke(app, ["config", "show", "--json"]).stdout)
    assert found["category.bottle.embed.tiles"] == {"value": "3x3", "origin": "anoclust.toml [category.bottle]"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[category.bottle.embed]\ntils = 3", ["category.bottle.embed.tils", "did you mean embed.tiles?"]),
        ("[category.bottle.embd]\ntiles = 3", ["[category.bottle.embd]", "did you mean embed?"]),
        ("[category.bottle]\nembed = 3", ["category.bottle.embed is a section"]),
        ("[category.bottle.seed]\nx = 3", ["category.bottle.seed is a value"]),
        ("[category]\nbottle = 3", ["[category.NAME.embed]"]),
        ("category = 3", ["[category.NAME.embed]"]),
        ("[category.bottle.weigh]\ntau = -1", ["[category.bottle]", "weigh.tau takes"]),
        ("[category.bottle]\nrecipe = 'blind'\n[category.bottle.weigh]\nweights = 'uniform'", ["recipe blind"]),
        ("[category.bottle.night]\nrecluster_every = 3", ["night.recluster_every holds for all categories"]),
        ("[category.bottle]\nstore = 'x'", ["store holds for all categories"]),
    ],
)
def test_a_wrong_section_is_an_error(tmp_path: Path, text: str, words: list[str]) -> None:
    """Names that do not exist, values that are not valid and what holds for all are told with the section."""
    path = tmp_path / "anoclust.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        resolve(file=path, environment={})
    assert all(word in str(caught.value) for word in words), caught.value


def test_what_holds_for_all_exists() -> None:
    """Settings that no section may have are settings."""
    assert all(any(name.startswith(prefix) for name in SETTINGS) for prefix in FOR_ALL)


def test_a_slip_in_a_category_s_name_is_told(tmp_path: Path) -> None:
    """A section for a category that is almost called so is refused; one for another data set is not."""
    flat_folder(tmp_path / "data" / "bottle", range(2))
    path = tmp_path / "anoclust.toml"
    path.write_text("[category.botle]\nseed = 1\n")
    with pytest.raises(ConfigError, match=r"botle.*did you mean bottle\?.*\[category.botle\]"):
        choose_images(tmp_path / "data", resolve(file=path, environment={}).config)
    path.write_text("[category.carpet]\nseed = 1\n")
    assert list(choose_images(tmp_path / "data", resolve(file=path, environment={}).config)) == ["bottle"]


def test_normals_of_one_category(tmp_path: Path) -> None:
    """Which images are normal is a category's own setting too."""
    for name in ("a", "b"):
        flat_folder(tmp_path / "data" / name / "train" / "good", range(2))
        flat_folder(tmp_path / "data" / name / "test" / "hole", range(3, 6))
    path = tmp_path / "anoclust.toml"
    path.write_text("[category.b.data]\nnormals = 'none'\n")
    chosen = choose_images(tmp_path / "data", resolve(file=path, environment={}).config)
    roles = {name: [role for _, role in one.files].count("normal") for name, one in chosen.items()}
    assert roles == {"a": 2, "b": 0}


def test_a_deployment_keeps_the_sections(file: Path) -> None:
    """What a deployment is given resolves to the same settings on a worker that does not see the file."""
    first = resolve({"weigh.tau": "0.05"}, file=file, environment={})
    again = resolve(given_settings(first), environment={})
    for category in ("bottle", "metal.nut", "screw"):
        assert again.config.of(category) == first.config.of(category)


def test_a_deployment_keeps_where_paths_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its runs start at the store: paths, behind a word too, go with them as absolute ones, and words as they are."""
    monkeypatch.chdir(tmp_path)
    for folder in ("heat", "models", "auto"):
        (tmp_path / folder).mkdir()
    text = "[weigh]\nweights = 'maps:heat'\n[category.bottle.weigh]\nweights = 'detector:models'\n"
    (tmp_path / "anoclust.toml").write_text(text)
    given = given_settings(resolve({"data.normals": "auto"}, environment={}))
    assert given == {
        "weigh.weights": f"maps:{tmp_path / 'heat'}",
        "data.normals": "auto",
        "category.bottle.weigh.weights": f"detector:{tmp_path / 'models'}",
    }


def run(*arguments: Any) -> Any:
    """Run a command in this process."""
    return CliRunner().invoke(app, [str(one) for one in arguments], env={"COLUMNS": "200"})


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_db")
def test_own_settings_one_command_one_page(tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each category runs by its own settings, the others by their old keys; one page lists all, the failed first."""
    monkeypatch.chdir(tmp_path)
    for at, name in enumerate(("bottle", "carpet")):
        flat_folder(tmp_path / "data" / name, range(10 * at, 10 * at + 6))
    flat_folder(tmp_path / "data" / "broken", range(1))
    common = f"[embed]\nbackbone = '{TINY_BACKBONE}'\ncheckpoint = '{checkpoint}'\nimage_size = {TINY_SIDE}\n"
    common += "device = 'cpu'\n[data]\nsettle_seconds = 0\n"
    (tmp_path / "anoclust.toml").write_text(common)
    first = run("run", "data")
    assert first.exit_code == DatasetError.exit_code, first.output
    assert "summary.html" in first.stdout
    page = (tmp_path / "anoclust-store" / "summary.html").read_text()
    assert page.index("<bdi>broken") < page.index("<bdi>bottle") < page.index("<bdi>carpet")
    assert page.count("first run of the category") == 2

    (tmp_path / "anoclust.toml").write_text(common + "[category.bottle.group]\nn_clusters = 3\n")
    checked = run("check", "data", "--category", "bottle", "--category", "carpet")
    assert checked.stdout.count("as asked for with --n-clusters") == 1
    second = json.loads(run("run", "data", "--json").stdout)
    found = {one["category"]: one for one in second}
    assert (found["bottle"]["is_new"], found["carpet"]["is_new"]) == (True, False)
    assert found["bottle"]["summary"]["n_clusters"] == 3
    page = (tmp_path / "anoclust-store" / "summary.html").read_text()
    assert "nothing new: this run was finished before" in page
    for name in ("bottle", "carpet"):
        link = Path(found[name]["run"]).relative_to(tmp_path / "anoclust-store") / "report.html"
        assert f'href="{link.as_posix()}"' in page
        assert (tmp_path / "anoclust-store" / link).is_file()
    assert store_size(StoreLayout(tmp_path / "anoclust-store")).other == 0


def test_the_page_of_a_night(tmp_path: Path) -> None:
    """What is to do in each category, in its own words; a single category has its report and no page."""
    night = date(2026, 11, 29)
    report = tmp_path / "nights" / "a b" / "2026-11-29" / "report.html"
    busy = NightOutcome("a b", night, True, {"new": 9, "unknown": 2}, report=report, line="c3 grows: 7 tonight")
    quiet = NightOutcome("c", night, True, {"new": 4}, line="nothing to do")
    failed = NightOutcome("d", night, error=DatasetError("no image can be used"))
    silent = NightOutcome("e", night, nothing_came="there is no folder e", is_empty=True)
    assert write_nights_overview(tmp_path, [busy]) is None
    path = write_nights_overview(tmp_path, [quiet, busy, failed, silent])
    assert path == tmp_path / "summary.html"
    page = path.read_text()
    assert "Night of 29 November 2026, 4 categories" in page
    assert page.index("no image can be used") < page.index("c3 grows: 7 tonight") < page.index("there is no folder e")
    assert page.index("there is no folder e") < page.index("nothing to do")
    assert 'href="nights/a%20b/2026-11-29/report.html"' in page
    assert "2 unknown" in page


WITH_A_DETECTOR = '[detector]\ninput_size = "64x64"\n[category.bottle.weigh]\nweights = "detector:models"\n'


def test_flags_that_no_category_has_a_use_for_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flag has to mean something for one category at least; what a file says for all may mean nothing for some."""
    monkeypatch.chdir(tmp_path)
    Path("anoclust.toml").write_text('[detector]\ninput_size = "64x64"\n[pair]\nreference = 3\n')
    for flags in ({}, {"recipe": "blind"}, {"detector.input_values": "auto"}, {"pair.reference": "9"}):
        Asked(flags, None, False).settings()
    with pytest.raises(ConfigError, match=r"--input-values says how the model of --weights detector:FILE is taken"):
        Asked({"detector.input_values": "unit"}, None, False).settings()
    Path("anoclust.toml").write_text(WITH_A_DETECTOR)
    found = Asked({"detector.input_values": "unit", "pair.reference": "9"}, None, False).settings().config
    assert (found.detector.input_values, found.of("bottle").detector.input_size) == ("unit", "64x64")
    Path("anoclust.toml").unlink()
    with pytest.raises(ConfigError, match=r"recipe blind compares no images; omit --reference, or use another recipe"):
        Asked({"recipe": "blind", "pair.reference": "9"}, None, False).settings()
