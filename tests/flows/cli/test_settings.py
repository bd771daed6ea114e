"""Where settings come from: flags beat variables, they the file, it the defaults; no misspelt name is swallowed."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from anoclust_core.config import RunConfig
from anoclust_core.config.setting import flatten, nest
from anoclust_core.errors import ConfigError
from flows.cli import app
from flows.settings import SETTINGS, Settings, commented_file, defaults, flag_of, resolve, variable_of

SAMPLES: dict[str, tuple[object, str, str]] = {
    "store": ("/file", "/variable", "/flag"),
    "recipe": ("sohn", "auto", "sohn"),
    "seed": (1, "2", "3"),
    "memory": ("1GiB", "2GiB", "3MiB"),
    "wait_seconds": (1.5, "2.5", "3.5"),
    "data.normals": ("none", "/variable", "/flag"),
    "data.roi": ("none", "/variable", "/flag"),
    "data.splits": ("all", "test", "all"),
    "data.settle_seconds": (0, "1.5", "60.0"),
    "data.max_bad_share": (0.1, "0.2", "1.0"),
    "data.trust_times": (False, "true", "false"),
    "data.part": ("column:serial", "path:{part}_*", "path:*/{part}"),
    "data.range": ("full", "auto", "100:4000"),
    "embed.backbone": ("resnet18", "resnet34", "resnet50"),
    "embed.checkpoint": ("/file", "/variable", "none"),
    "embed.layers": ([1, 2], "3", "2,3"),
    "embed.image_size": (64, "128", "512"),
    "embed.resize": ("pad", "crop", "pad"),
    "embed.tiles": ("2x3", "4x1", "3x3"),
    "embed.tile_size": (500, "600", "none"),
    "embed.overlap": (10, "20", "30"),
    "embed.device": ("cpu", "cuda", "cuda:1"),
    "embed.precision": ("bf16", "float32", "bf16"),
    "embed.engine": ("torch", "auto", "torch"),
    "pair.reference": (100, "auto", "300"),
    "pair.reference_patches": (100, "all", "auto"),
    "pair.store_budget": ("1GiB", "1500B", "7KiB"),
    "pair.aligned": (True, "false", "true"),
    "pair.window": (1, "3", "4"),
    "pair.near_duplicates": ("count-once", "count-once", "keep"),
    "pair.dask": ("tcp://file:1", "tcp://variable:1", "none"),
    "weigh.tau": (0.02, "0.5sd", "0.7"),
    "weigh.weights": ("uniform", "maps:/variable", "rarity"),
    "detector.input_size": ("64x64", "128x96", "256x256"),
    "detector.input_values": ("bytes", "imagenet", "unit"),
    "detector.map_output": ("heat", "map", "auto"),
    "blind.variant": ("paper", "program", "paper"),
    "blind.vae": (False, "true", "false"),
    "blind.contrastive": (False, "true", "false"),
    "blind.threshold": ("otsu", "kmeans-quantile", "robust"),
    "blind.flat_field": (False, "true", "false"),
    "blind.border": (0.1, "0.2", "0.3"),
    "group.by": ("part", "image", "part"),
    "group.distance": ("max_min_max", "mean_mean", "min_min"),
    "group.linkage": ("average", "single", "complete"),
    "group.n_clusters": (2, "3", "auto"),
    "night.timezone": ("Europe/Berlin", "Asia/Tokyo", "America/Lima"),
    "night.day_starts": ("22:00", "00:30", "05:59"),
    "night.captured": (["path:%Y-%m-%d", "exif"], "column:shot", "exif,file"),
    "night.recluster_every": (3, "14", "none"),
    "night.recluster_unknown": (0.1, "0.3", "0.5"),
    "night.learn": ("off", "auto", "off"),
    "night.review": ("http://qa:8765", "https://qa.example/review", "none"),
    "night.catalog": ("postgresql://a@file/x", "postgresql://a@variable/x", "postgresql://a@flag/x"),
}
"""Three values of every setting, for the file, the variable and the flag, written as `anoclust config show` does."""

SOURCES = ("file", "variable", "flag")

names = pytest.mark.parametrize("name", SAMPLES)

OF_NIGHTS = "night."
"""Settings that a run knows nothing of: flags of `anoclust nightly`."""

OF_DETECTORS = "detector."
"""Settings whose flags are refused without a detector to take them."""


def toml(values: dict[str, object]) -> str:
    """Write settings as a file."""
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())


def shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def settled(found: Settings, name: str) -> tuple[str, str]:
    """Value and origin of a setting, as a person sees them."""
    text = str(found.values()[name])
    return text.removesuffix(".0") if name == "data.settle_seconds" else text, found.origins[name]


def refused(tmp_path: Path, text: str) -> str:
    """Message that a file is refused with."""
    (tmp_path / "anoclust.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        resolve(file=tmp_path / "anoclust.toml", environment={})
    return str(caught.value)


def test_every_setting_is_sampled_and_described() -> None:
    """Samples, meanings and what they take are there for every setting of a run, no more and no fewer."""
    leaves = set(flatten(RunConfig().model_dump()))
    assert [name for name, one in SETTINGS.items() if not one.help or not one.takes or not one.commands] == []
    assert set(SETTINGS) == {"store", *leaves}
    assert set(SAMPLES) == set(defaults()) == {"store", *leaves}


@names
def test_flags_beat_variables_beat_the_file_beat_defaults(tmp_path: Path, name: str) -> None:
    """Each source sets every setting, and gives way to the next one; the origin says which it was."""
    file, variable, flag = SAMPLES[name]
    path = tmp_path / "anoclust.toml"
    path.write_text(toml({name: file}))
    environment = {variable_of(name): variable, "PATH": "/bin"}
    assert resolve(environment={}).values()[name] == defaults()[name]
    assert resolve(environment={}).origins[name] == "default"
    assert settled(resolve(file=path, environment={}), name) == (shown(file), str(path))
    assert settled(resolve(file=path, environment=environment), name) == (variable, variable_of(name))
    everything = resolve({name: flag}, file=path, environment=environment)
    assert settled(everything, name) == (flag.removesuffix(".0") if "settle" in name else flag, flag_of(name))
    others = set(everything.origins) - {name}
    assert {everything.origins[other] for other in others} == {"default"}


@given(st.dictionaries(st.sampled_from(sorted(SAMPLES)), st.sets(st.sampled_from(SOURCES), min_size=1)))
def test_any_mixture_of_sources(tmp_path_factory: pytest.TempPathFactory, given_by: dict[str, set[str]]) -> None:
    """However the settings are spread over the sources, each has the value of the highest one that gives it.

    What is refused as flags, such as a Hausdorff distance beside recipe auto, is refused from wherever it comes.
    """

    def chosen(source: str) -> dict[str, object]:
        at = SOURCES.index(source)
        return {name: SAMPLES[name][at] for name, sources in given_by.items() if source in sources}

    path = tmp_path_factory.mktemp("mixture") / "mine.toml"
    path.write_text(toml(chosen("file")))
    environment = {variable_of(name): str(value) for name, value in chosen("variable").items()}
    try:
        resolve({name: shown(value) for source in SOURCES for name, value in chosen(source).items()}, environment={})
    except ConfigError:
        with pytest.raises(ConfigError):
            resolve(chosen("flag"), file=path, environment=environment)
        return
    found = resolve(chosen("flag"), file=path, environment=environment)
    for name in SAMPLES:
        sources = given_by.get(name, set())
        winner = next((source for source in reversed(SOURCES) if source in sources), None)
        expected = {None: "default", "file": str(path), "variable": variable_of(name), "flag": flag_of(name)}[winner]
        assert found.origins[name] == expected
        if winner == "variable":
            assert found.values()[name] == resolve({name: SAMPLES[name][1]}, environment={}).values()[name]


def command_of(name: str) -> str:
    return "nightly" if name.startswith(OF_NIGHTS) else "run"


def test_a_password_is_not_shown() -> None:
    """`anoclust config show` keeps the password of the catalog's database to itself."""
    found = resolve({"night.catalog": "postgresql://me:secret@host/x"}, environment={})
    assert found.config.night.catalog == "postgresql://me:secret@host/x"
    assert found.values()["night.catalog"] == "postgresql://me:***@host/x"


@names
def test_run_has_a_flag_for_every_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    """`anoclust run`, or `nightly`, takes every setting as a flag, and hands it on under the right name."""
    seen: list[Settings] = []
    monkeypatch.setattr("flows.cli.run._cluster", lambda data, found, *_, **__: seen.append(found))
    monkeypatch.setattr("flows.cli.nights._run", lambda data, found, *_, **__: seen.append(found))
    monkeypatch.chdir(tmp_path)
    flags = {name: SAMPLES[name][2]}
    if name.startswith(OF_DETECTORS):
        flags["weigh.weights"] = "detector:model.xml"
    words = [word for other, value in flags.items() for word in (flag_of(other), value)]
    result = CliRunner().invoke(app, [command_of(name), "data", *words])
    assert result.exit_code == 0, result.output
    assert seen[0] == resolve(flags, environment={})
    assert {other for other, origin in seen[0].origins.items() if origin != "default"} == set(flags)


@names
def test_help_names_every_flag(name: str) -> None:
    """`anoclust run --help`, or that of `nightly`, explains every setting."""
    text = CliRunner().invoke(app, [command_of(name), "--help"], env={"COLUMNS": "300"}).stdout
    assert flag_of(name) in text
    assert SETTINGS[name].help.split(":")[0].replace("`", "")[:20] in text


def test_flags_and_variables_are_unique() -> None:
    """No two settings share a flag or a variable."""
    assert len({flag_of(name) for name in SAMPLES}) == len({variable_of(name) for name in SAMPLES}) == len(SAMPLES)


def test_commented_file_gives_the_defaults(tmp_path: Path) -> None:
    """The file of `anoclust config init` changes nothing; uncommented it is TOML and says the defaults."""
    path = tmp_path / "anoclust.toml"
    path.write_text(commented_file())
    assert flatten(tomllib.loads(commented_file())) == {}
    assert resolve(file=path, environment={}) == resolve(environment={})
    uncommented = re.sub(r"(?m)^# (\w+ = )", r"\1", commented_file())
    assert flatten(tomllib.loads(uncommented)) == defaults()
    path.write_text(uncommented)
    beside = resolve(file=path, environment={})
    assert beside.config == RunConfig()
    assert beside.store == tmp_path / "anoclust-store"
    for name in SAMPLES:
        assert f"{name.rpartition('.')[2]} = " in uncommented


def test_what_is_shown_can_be_written(tmp_path: Path) -> None:
    """Values as `anoclust config show` prints them give the same settings in a file."""
    flags = {name: flag for name, (_, _, flag) in SAMPLES.items()}
    first = resolve(flags, environment={})
    path = tmp_path / "again.toml"
    path.write_text(toml(dict(first.values())))
    again = resolve(file=path, environment={})
    assert (again.config, again.store) == (first.config, first.store)


def test_config_show_tells_values_and_origins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`anoclust config show` prints every setting with its value and where it came from, also for scripts."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "anoclust.toml").write_text("seed = 4\n[weigh]\ntau = 0.5\n")
    monkeypatch.setenv("ANOCLUST_GROUP__N_CLUSTERS", "6")
    table = CliRunner().invoke(app, ["config", "show"]).stdout
    rows = {line.split()[0]: line.split()[1:] for line in table.splitlines() if line and line.split()[0] in SAMPLES}
    assert set(rows) == set(SAMPLES)
    assert rows["seed"] == ["4", "anoclust.toml"]
    assert rows["weigh.tau"] == ["0.5", "anoclust.toml"]
    assert rows["group.n_clusters"] == ["6", "ANOCLUST_GROUP__N_CLUSTERS"]
    assert rows["embed.backbone"] == ["efficientnet_lite2", "default"]
    as_json = json.loads(CliRunner().invoke(app, ["config", "show", "--json"]).stdout)
    assert as_json["weigh.tau"] == {"value": "0.5", "origin": "anoclust.toml"}
    assert as_json["group.n_clusters"] == {"value": 6, "origin": "ANOCLUST_GROUP__N_CLUSTERS"}


@pytest.mark.parametrize("columns", [30, 60, 200])
def test_config_show_in_any_terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, columns: int) -> None:
    """Names of settings are never broken, however narrow the terminal is or whatever reads the output."""
    monkeypatch.chdir(tmp_path)
    table = CliRunner().invoke(app, ["config", "show"], env={"COLUMNS": str(columns)}).stdout
    for name in SAMPLES:
        assert re.search(rf"(?m)^{re.escape(name)}\b", table)


def test_config_init_writes_once(tmp_path: Path) -> None:
    """`anoclust config init` writes the commented file, and replaces one only when it is told to."""
    out = tmp_path / "mine.toml"
    assert CliRunner().invoke(app, ["config", "init", "--out", str(out)]).exit_code == 0
    assert out.read_text() == commented_file()
    out.write_text("seed = 4\n")
    again = CliRunner().invoke(app, ["config", "init", "--out", str(out)])
    assert (again.exit_code, out.read_text()) == (2, "seed = 4\n")
    assert "--force" in again.stderr
    assert CliRunner().invoke(app, ["config", "init", "--out", str(out), "--force"]).exit_code == 0
    assert out.read_text() == commented_file()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sede = 3", ["unknown setting sede", "did you mean seed?"]),
        ("n_clusters = 3", ["unknown setting n_clusters", "did you mean group.n_clusters?"]),
        ("[group]\nn_cluster = 3", ["unknown setting group.n_cluster", "did you mean group.n_clusters?"]),
        ("[wiegh]\ntau = 1", ["unknown section [wiegh]", "did you mean weigh?"]),
        ("[wiegh]", ["unknown section [wiegh]", "did you mean weigh?"]),
        ("[colours]\nred = 1", ["unknown section [colours]", "`anoclust config show`"]),
        ("[weigh.tau]\nvalue = 1", ["unknown setting weigh.tau.value"]),
        ("weigh = 1", ["weigh is a section, [weigh], not a value", "found 1"]),
        ("[[group]]\nn_clusters = 3", ["group is a section, [group], not a value"]),
        ("[seed]", ["seed is a value, not a section", "a whole number from 0"]),
        ("seed 3", ["cannot be read as TOML", "line 1"]),
        ("seed = 3\nseed = 4", ["cannot be read as TOML"]),
        ("seed = true", ["seed takes a whole number from 0", "found True"]),
        ("seed = 2.5", ["seed takes a whole number", "found 2.5"]),
        ("[data]\nnormals = ''", ["data.normals takes auto, none or a folder", "found ''"]),
        ("[data]\nsplits = 'tests'", ["data.splits takes test or all", "'tests'", "did you mean test?"]),
        ("[embed]\nlayers = ['2', 'x']", ["embed.layers takes auto or numbers"]),
        ("[embed]\nlayers = []", ["embed.layers takes auto or numbers", "found []"]),
        ("[embed]\nimage_size = 16", ["embed.image_size takes auto or a whole number of pixels from 32", "found 16"]),
        ("[pair]\nstore_budget = 'lots'", ["pair.store_budget takes a size such as 2GiB", "'lots'"]),
        ("[weigh]\ntau = -1", ["weigh.tau takes a positive number", "found -1"]),
        ("[data]\nmax_bad_share = 30", ["data.max_bad_share takes a share from 0 to 1", "found 30"]),
        ("store = 5", ["store takes a folder", "found 5"]),
        ("store = 's3://bucket/x'", ["store takes a folder", "s3://bucket/x", "an address in an object store, which"]),
        ("seed = -1\n[group]\nn_clusters = 0", ["seed takes", "also wrong: group.n_clusters"]),
    ],
)
def test_wrong_file(tmp_path: Path, text: str, words: list[str]) -> None:
    """A file's wrong name, value or form is refused with the file, what was found, and what is meant or taken."""
    message = refused(tmp_path, text)
    assert str(tmp_path / "anoclust.toml") in message
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("ANOCLUST_SEDE", "3", ["ANOCLUST_SEDE is unknown", "did you mean ANOCLUST_SEED?"]),
        ("ANOCLUST_GROUP_N_CLUSTERS", "3", ["did you mean ANOCLUST_GROUP__N_CLUSTERS?"]),
        ("ANOCLUST_TAU", "3", ["ANOCLUST_TAU is unknown", "did you mean ANOCLUST_WEIGH__TAU?"]),
        ("ANOCLUST_", "3", ["ANOCLUST_ is unknown"]),
        ("ANOCLUST_CONFG", "a.toml", ["did you mean ANOCLUST_CONFIG?"]),
        ("ANOCLUST_SEED", "many", ["ANOCLUST_SEED takes a whole number from 0", "found 'many'"]),
        ("ANOCLUST_SEED", "", ["ANOCLUST_SEED takes a whole number from 0", "found ''"]),
        ("ANOCLUST_STORE", "", ["ANOCLUST_STORE takes a folder", "found ''"]),
        ("ANOCLUST_MEMORY", "8 apples", ["ANOCLUST_MEMORY takes auto or a size such as 8GiB"]),
        ("ANOCLUST_EMBED__DEVICE", "tpu", ["takes auto, cpu, cuda or cuda:INDEX", "did you mean cpu?"]),
        ("ANOCLUST_DATA__MAX_BAD_SHARE", "nan", ["takes a share from 0 to 1", "found 'nan'"]),
        ("ANOCLUST_WAIT_SECONDS", "inf", ["takes a number of seconds from 0", "found 'inf'"]),
        ("ANOCLUST_CONFIG", "/gone.toml", ["there is no configuration file /gone.toml", "`anoclust config init`"]),
    ],
)
def test_wrong_variable(variable: str, value: str, words: list[str]) -> None:
    """A variable with the program's prefix that is unknown or wrong is refused by its name."""
    with pytest.raises(ConfigError) as caught:
        resolve(environment={variable: value})
    for word in words:
        assert word in str(caught.value)


@names
def test_wrong_value_names_its_source(tmp_path: Path, name: str) -> None:
    """A value that no setting takes is refused with flag, variable or file and name, and what it takes."""
    wrong = ""
    takes = SETTINGS[name].takes
    with pytest.raises(ConfigError, match=f"^{re.escape(f'{flag_of(name)} takes {takes}; found')}"):
        resolve({name: wrong}, environment={})
    with pytest.raises(ConfigError, match=f"^{re.escape(f'{variable_of(name)} takes {takes}; found')}"):
        resolve(environment={variable_of(name): wrong})
    assert refused(tmp_path, toml({name: wrong})).startswith(f"{tmp_path / 'anoclust.toml'}: {name} takes {takes}; ")


@given(st.sampled_from(sorted(set(SAMPLES) - {"seed"})), st.data())
def test_a_slip_of_the_finger_is_understood(name: str, data: st.DataObject) -> None:
    """One letter left out of any variable's name: the message offers the name that was meant."""
    right = variable_of(name)
    at = data.draw(st.integers(len("ANOCLUST_") + 1, len(right) - 1))
    wrong = right[:at] + right[at + 1 :]
    with pytest.raises(ConfigError, match=rf"did you mean {right}\?"):
        resolve(environment={wrong: "1"})


def test_relative_paths_start_where_they_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths in a file start at its folder, words and other settings do not; paths of variables and flags stay."""
    (tmp_path / "conf").mkdir()
    path = tmp_path / "conf" / "a.toml"
    path.write_text(toml({"store": "s", "data.normals": "good", "embed.checkpoint": "../w.pth", "embed.backbone": "x"}))
    found = resolve(file=path, environment={})
    assert found.store == path.parent / "s"
    assert found.config.data.normals == str(path.parent / "good")
    assert found.config.embed.checkpoint == str(path.parent / "../w.pth")
    assert found.config.embed.backbone == "x"
    path.write_text(toml({"store": "/abs", "data.normals": "auto", "embed.checkpoint": "none"}))
    found = resolve(file=path, environment={})
    assert (found.store, found.config) == (Path("/abs"), RunConfig())
    for word in ("maps:", "detector:"):
        path.write_text(toml({"weigh.weights": f"{word}heat"}))
        assert resolve(file=path, environment={}).config.weigh.weights == f"{word}{path.parent / 'heat'}"
        path.write_text(toml({"weigh.weights": f"{word}/abs"}))
        assert resolve(file=path, environment={}).config.weigh.weights == f"{word}/abs"
        assert resolve({"weigh.weights": f"{word}heat"}, environment={}).config.weigh.weights == f"{word}heat"
    assert resolve({"data.normals": "good"}, environment={"ANOCLUST_STORE": "s"}).store == Path("s")
    monkeypatch.setenv("HOME", "/home/eve")
    path.write_text(toml({"store": "~/s"}))
    assert resolve(file=path, environment={}).store == Path("/home/eve/s")
    assert resolve(environment={"ANOCLUST_EMBED__CHECKPOINT": "~/w"}).config.embed.checkpoint == "/home/eve/w"


def test_which_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--config beats ANOCLUST_CONFIG, which beats anoclust.toml in the current folder; a named file must be there."""
    monkeypatch.chdir(tmp_path)
    assert resolve(environment={}).config.seed == 0
    for name, seed in (("anoclust.toml", 1), ("variable.toml", 2), ("flag.toml", 3)):
        (tmp_path / name).write_text(f"seed = {seed}")
    environment = {"ANOCLUST_CONFIG": "variable.toml"}
    assert resolve(environment={}).config.seed == 1
    assert resolve(environment={"ANOCLUST_CONFIG": ""}).config.seed == 1
    assert resolve(environment=environment).config.seed == 2
    assert resolve(file=Path("flag.toml"), environment=environment).config.seed == 3
    with pytest.raises(ConfigError, match=r"no configuration file gone\.toml; `anoclust config init` writes one"):
        resolve(file=Path("gone.toml"), environment=environment)
    with pytest.raises(ConfigError, match=r"cannot be read as TOML"):
        resolve(file=tmp_path, environment={})


@given(st.dictionaries(st.sampled_from(sorted(SAMPLES)), st.integers()))
def test_sections_and_dotted_names_are_one(flat: dict[str, object]) -> None:
    """Settings in sections and settings by dotted names say the same."""
    assert flatten(nest(flat)) == flat
