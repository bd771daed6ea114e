"""Wrong commands and settings: the exit code and the one paragraph that each ends with; the table of docs/errors.md."""

from __future__ import annotations

import os
import pickle
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from helpers.builders import TINY_BACKBONE, TINY_SIDE, digest, flat_folder, mvtec_category, save_detector
from typer.testing import CliRunner

from anoclust_core import errors
from flows.cli import app
from flows.cli.messages import INTERRUPTED, UNEXPECTED
from tasks.compute import dask_jobs
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.catalog.facts import AssignmentFact, ImageFact, NightFact
from tasks.stores.layout import StoreLayout
from tasks.stores.locks import category_lock

PAGE = Path(__file__).parents[3] / "docs" / "errors.md"
REWRITE = "REWRITE_DOCS"
"""Environment variable that lets this test write the page instead of comparing it."""


@dataclass(frozen=True, eq=False)
class Case:
    """One wrong command.

    Attributes
    ----------
    command
        As a person types it; variables stand before it.
    code
        Exit code that it ends with.
    words
        What its message must say: what was expected, what was found, what to do.
    files
        Files that are there, by name.
    prepare
        What else has to be there.
    said
        How the page shows what ``files`` and ``prepare`` do.
    varies
        Part of the message that is not ours to say; the page leaves it out.
    during
        What goes on while the command runs.
    """

    command: str
    code: int
    words: tuple[str, ...]
    files: dict[str, str] = field(default_factory=dict)
    prepare: Callable[[], object] = lambda: None
    said: str = ""
    varies: str = ""
    during: Callable[[], AbstractContextManager[object]] = nullcontext


def toml(text: str) -> dict[str, Any]:
    return {"files": {"anoclust.toml": text}, "said": f"anoclust.toml: `{'`, `'.join(text.splitlines())}`"}


def manifest(text: str) -> dict[str, Any]:
    return {"files": {"images.csv": text}, "said": f"images.csv: `{'`, `'.join(text.splitlines())}`"}


class Evil:
    """Content of a checkpoint that runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch owned",)


def evil_checkpoint() -> None:
    Path("evil.pth").write_bytes(pickle.dumps(Evil()))


def broken_images() -> None:
    for number in range(4):
        Path(f"broken/{number}.png").parent.mkdir(exist_ok=True)
        Path(f"broken/{number}.png").write_text(f"no image {number}")


def mixed_folder() -> None:
    mvtec_category(Path("mixed/nut"), {"test/good": 2})
    flat_folder(Path("mixed"), [1])


def another_run() -> AbstractContextManager[None]:
    return category_lock(StoreLayout(Path("anoclust-store").absolute()), "board")


def nights_of_board(paths: Sequence[str] = ("board/000.png", "board/001.png"), said: str = "") -> dict[str, Any]:
    """Catalog of a store in which there has been a night with one cluster of some images."""

    def prepare() -> None:
        taken = datetime(2026, 11, 1, 12, tzinfo=UTC)
        images = [ImageFact(digest(str(at)), path, taken, taken.date()) for at, path in enumerate(paths)]
        Path("anoclust-store").mkdir()
        with Catalog.open(Path("anoclust-store/catalog.sqlite")) as catalog:
            catalog.record_night(
                NightFact("board", taken.date(), "done", "", taken, taken),
                new=images,
                assignments=[AssignmentFact(image.content, "c1", 0.5, 0.9) for image in images],
                born={"c1": {"images": len(images)}},
            )

    return {"prepare": prepare, "said": f"there has been a night of board, with the cluster c1{said}"}


def lost_catalog() -> dict[str, Any]:
    """Store that has pages of nights and no catalog."""

    def prepare() -> None:
        Path("anoclust-store/nights/board/2026-11-01").mkdir(parents=True)

    return {"prepare": prepare, "said": "there have been nights, and their catalog is gone"}


@contextmanager
def ctrl_c() -> Iterator[None]:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("flows.decoding.embedding_spec", interrupted)
        yield


CASES = [
    # the command line
    Case("anoclust rnu board", 2, ("no such command 'rnu'", "did you mean run?", "`anoclust --help`")),
    Case("anoclust store chek", 2, ("no such command 'chek'", "did you mean check?", "`anoclust store --help`")),
    Case("anoclust run", 2, ("missing argument 'data'", "`anoclust run --help`")),
    Case("anoclust run board --n-cluster 3", 2, ("no such option: --n-cluster", "--n-clusters")),
    Case("anoclust run board nut", 2, ("unexpected extra argument", "nut")),
    Case("anoclust run board --tau", 2, ("--tau", "requires an argument")),
    Case("anoclust run board --part serial", 2, ("--part takes", "column:NAME or path:PATTERN", "found 'serial'")),
    Case("anoclust run board --part path:{part}_cam*", 3, ("fits none of the", "images of category board", "000.png")),
    Case("anoclust run board --by part", 3, ("--part column:part fits none", "--by image")),
    Case("anoclust run board --weights heat", 2, ("--weights takes", "maps:FOLDER or detector:FILE", "found 'heat'")),
    Case("anoclust run board --weights maps:nowhere", 3, ("--weights maps:nowhere is not a folder",)),
    Case("anoclust run board --weights maps:.", 3, ("no image of board has a map", ".png.npy")),
    Case("anoclust run board --weights detector:model.xml", 2, ("detector:model.xml is not there", ".xml or .onnx")),
    Case("anoclust run board --weights detector:board", 2, ("without board.xml or board.onnx", "name the file")),
    Case(
        "anoclust run board --weights detector:model.ckpt",
        2,
        (
            "model.ckpt is a checkpoint of Python objects (a pickle)",
            "Anoclust reads none",
            "export the model to OpenVINO",
        ),
        prepare=lambda: Path("model.ckpt").write_bytes(pickle.dumps(Evil())),
        said="model.ckpt: a pickle that runs a command when it is loaded",
    ),
    Case(
        "anoclust run board --weights detector:model.xml",
        2,
        ("has its weights in model.bin, which is not beside it",),
        files={"model.xml": "<net/>"},
        said="model.xml alone",
    ),
    Case(
        "anoclust run board --weights detector:model.bin",
        2,
        ("model.bin is no exported model", ".xml (OpenVINO) or .onnx"),
        files={"model.bin": "0"},
        said="model.bin alone",
    ),
    Case(
        "anoclust run board --weights detector:model.xml",
        2,
        ("OpenVINO cannot read the detector model.xml", "export the model"),
        files={"model.xml": "<net/>", "model.bin": "0"},
        said="two files that are no model",
        varies=r"\(.*?\)",
    ),
    Case(
        "anoclust run board --weights detector:model.onnx",
        2,
        ("takes [1,1,32,32], pictures that have not three channels", "RGB pictures as (1, 3, height, width)"),
        prepare=lambda: save_detector(Path("model.onnx"), shape=(1, 1, 32, 32)),
        said="with a model of grey pictures",
    ),
    Case(
        "anoclust run board --weights detector:model.onnx",
        2,
        ("takes pictures of any size", "--input-size, such as 256x256"),
        prepare=lambda: save_detector(Path("model.onnx"), shape=("n", 3, "rows", "columns")),
        said="with a model of pictures of any size",
    ),
    Case(
        "anoclust run board --weights detector:model.onnx --input-size 64x64",
        2,
        ("--input-size 64x64", "takes pictures of 32x32 pixels; omit --input-size"),
        prepare=lambda: save_detector(Path("model.onnx")),
        said="with a model of 32 x 32 pixels",
    ),
    Case(
        "anoclust run board --weights detector:model.onnx --map-output heat",
        2,
        ("--map-output heat", "gives anomaly_map", "name one of these"),
        prepare=lambda: save_detector(Path("model.onnx")),
        said="with a model of 32 x 32 pixels",
    ),
    Case(
        "anoclust run board --weights detector:model.onnx",
        2,
        ("gives heat", "[1,2,32,32]", "a map has one channel of numbers", "--map-output"),
        prepare=lambda: save_detector(Path("model.onnx"), shape=(1, 3, 32, 32), outputs=("heat",), channels=2),
        said="with a model whose map has two channels",
    ),
    Case("anoclust run board --weights detector:m.xml --input-size 64", 2, ("--input-size takes", "such as 256x256")),
    Case("anoclust run board --input-size 64x64", 2, ("--input-size", "--weights detector:FILE", "omit it")),
    Case("anoclust check board --input-values unit", 2, ("--input-values", "--weights detector:FILE", "omit it")),
    Case("anoclust nightly board --map-output heat --weights maps:board", 2, ("--map-output", "omit it")),
    Case("anoclust run board --weights maps:board --reference 2", 2, ("maps compare no images", "omit --reference")),
    Case(
        "anoclust detector train board --method stfpm --out models",
        2,
        ("--method takes patchcore, padim, cfa or draem",),
    ),
    Case("anoclust detector train board --method padim --out models --steps 5", 2, ("padim takes none, omit it",)),
    Case(
        "anoclust detector train board --method draem --out models --image-size 300",
        2,
        ("multiples of 32", "--image-size 300", "try 288"),
    ),
    Case("anoclust benchmark board --detectors models --table 1", 2, ("--detectors stand in --table ardelean-2",)),
    Case(
        "anoclust run board --linkage wrad", 2, ("--linkage takes", "ward, average, complete or single", "found 'wrad'")
    ),
    Case("anoclust run board --distance hausdorff", 2, ("--distance takes", "max_min_max", "found 'hausdorff'")),
    Case("anoclust run board --recipe blnd", 2, ("--recipe takes auto, sohn or blind", "found 'blnd'")),
    Case("anoclust run board --recipe blind --weights uniform", 2, ("recipe blind makes its own anomaly maps",)),
    Case("anoclust run board --recipe auto --distance min_min", 2, ("omit --distance, or use recipe sohn",)),
    Case("anoclust run board --n-clusters 5:2", 2, ("LOW:HIGH such as 3:8",)),
    Case(
        "anoclust run board --recipe blind --reference 2",
        2,
        ("recipe blind compares no images", "omit --reference", "another recipe"),
    ),
    Case(
        "anoclust run board --recipe blind --distance min_min",
        2,
        ("recipe blind clusters images by",),
    ),
    Case("anoclust run board --recipe blind --border 0.5", 2, ("--border takes a part from 0", "found '0.5'")),
    Case("anoclust run board --recipe blind --vae maybe", 2, ("--vae takes true or false", "found 'maybe'")),
    Case(
        "anoclust run board --recipe blind --threshold kmeans-quantile",
        2,
        ("--threshold kmeans-quantile needs the number of classes",),
    ),
    Case("anoclust benchmark board --table 6", 2, ("--table takes one of 1, 2,", "found '6'")),
    Case("anoclust benchmark board --methods median", 2, ("--methods takes one of average,", "found 'median'")),
    Case("anoclust benchmark board --subsets 1", 2, ("--subsets takes a whole number from 2",)),
    Case("anoclust benchmark board", 3, ("the benchmark needs a label for every image", "column label")),
    Case("anoclust demo --seed many", 2, ("--seed takes a whole number from 0", "found 'many'")),
    Case("anoclust show --limit few", 2, ("--limit takes a whole number from 0", "found 'few'")),
    Case("anoclust store gc", 2, ("missing option '--keep'",)),
    Case("anoclust store gc --keep soon", 2, ("--keep takes an age in hours, days or weeks", "found 'soon'")),
    # nights
    Case("anoclust nightly gone", 3, ("gone is neither a folder nor a manifest",)),
    Case("anoclust nightly board --category bord", 2, ("no category bord in board", "did you mean board?")),
    Case("anoclust nightly board --as-of yesterday", 2, ("--as-of takes a date as 2026-11-20", "found 'yesterday'")),
    Case("anoclust nightly board --timezone Mars", 2, ("--timezone takes the name of a time zone", "found 'Mars'")),
    Case("anoclust nightly board --day-starts 25:00", 2, ("--day-starts takes a time of day", "found '25:00'")),
    Case("anoclust nightly board --captured guess", 2, ("--captured: expected path:PATTERN", "found 'guess'")),
    Case("anoclust nightly board --captured path:%d", 2, ("--captured: expected a pattern with %Y", "found '%d'")),
    Case(
        "anoclust nightly board --captured path:%Y-%m-%d",
        10,
        ("--captured path:%Y-%m-%d fits none of the 4 new images", "the first is 000.png", "nothing of this night"),
        varies=r"(?<=board )[\d-]+(?=: failed)",
    ),
    Case(
        "anoclust nightly board --as-of 2000-01-01",
        errors.NOTHING_CAME,
        ("board 2000-01-01: no image came", "all files are of later nights (4,", "check the date"),
        varies=r"(?<=the first of )[\d-]+",
    ),
    Case("anoclust nightly board --recluster-every week", 2, ("--recluster-every takes none or", "found 'week'")),
    Case("anoclust nightly board --recluster-unknown 20", 2, ("--recluster-unknown takes a share", "found '20'")),
    Case("anoclust nightly board --catalog mysql://x", 2, ("SQLite file or in PostgreSQL", "found mysql")),
    Case(
        "anoclust nightly board --catalog postgresql://127.0.0.1:9/x",
        4,
        ("the catalog postgresql+psycopg://127.0.0.1:9/x cannot be used", "check that it can be reached"),
        varies=r"(?<=used: ).*(?=; check)",
    ),
    Case(
        "anoclust nightly board --as-of 2026-11-20",
        7,
        ("another run of category board is in progress", "--wait-seconds"),
        during=another_run,
        said="while another run of it goes on",
        varies=r"\(process.*?\)",
    ),
    Case("anoclust backfill board", 2, ("missing option '--from'",)),
    Case(
        "anoclust backfill board --from monday --to 2026-01-01",
        2,
        ("--from takes a date as 2026-11-20", "found 'monday'"),
    ),
    Case(
        "anoclust backfill board --from 2026-02-01 --to 2026-01-01",
        2,
        ("--from 2026-02-01 is after --to 2026-01-01", "give the earlier night to --from"),
    ),
    Case(
        "anoclust backfill board --from 2026-01-01 --to 2026-01-02 --max-parallel 0",
        2,
        ("--max-parallel takes a whole number from 1", "found '0'"),
    ),
    Case("anoclust status", 4, ("no store at anoclust-store",)),
    Case(
        "anoclust status",
        4,
        ("there have been no nights in", "`anoclust nightly DATA --store"),
        prepare=lambda: Path("anoclust-store").mkdir(),
        said="the store is empty",
    ),
    Case("anoclust status bord", 2, ("no nights of a category bord", "did you mean board?"), **nights_of_board()),
    Case("anoclust clusters mrge board c1", 2, ("no such command 'mrge'", "did you mean merge?")),
    Case("anoclust clusters list", 2, ("missing argument 'category'", "`anoclust clusters list --help`")),
    Case("anoclust status", 4, ("is gone", "backup", "rebuild-catalog", "--new-catalog"), **lost_catalog()),
    Case("anoclust nightly board", 4, ("is gone", "backup", "rebuild-catalog", "--new-catalog"), **lost_catalog()),
    Case("anoclust nightly board --new-catalog", 2, ("omit the flag",), **nights_of_board()),
    Case("anoclust store rebuild-catalog", 4, ("no store at anoclust-store",)),
    Case("anoclust clusters list bord", 2, ("no nights of a category bord",), **nights_of_board()),
    Case("anoclust clusters show board c9", 2, ("there is no cluster c9 of board",), **nights_of_board()),
    Case("anoclust clusters merge board c1 --into c1", 2, ("c1",), **nights_of_board()),
    Case("anoclust clusters merge board c1", 2, ("missing option '--into'",), **nights_of_board()),
    Case("anoclust clusters split board c1 gone.png", 2, ("gone.png",), **nights_of_board()),
    Case(
        "anoclust clusters split board c1 board/0001.png",
        2,
        ("2 images of board are named", "the start of the sha256", "of night 2026-11-01"),
        **nights_of_board(["board/0001.png"] * 2, ", whose two images have one path"),
    ),
    Case("anoclust clusters undo board", 2, ("board",), **nights_of_board()),
    Case(
        "anoclust export clusters board --format xml",
        2,
        ("--format takes csv, parquet, fiftyone, labelstudio", "found 'xml'"),
    ),
    Case("anoclust up", 2, ("missing option '--data'",)),
    Case("anoclust up --data gone", 3, ("gone is neither a folder nor a manifest",)),
    Case("anoclust up --data board --at 25:00", 2, ("--at takes a time of day", "found '25:00'")),
    Case("anoclust up --data board --timezone Mars", 2, ("--timezone takes the name of a time zone", "found 'Mars'")),
    Case("anoclust up --data board --port 99999", 2, ("--port takes the number of a port", "found '99999'")),
    # flags
    Case("anoclust run board --tau hot", 2, ("--tau takes a positive number", "(0.3sd)", "found 'hot'")),
    Case("anoclust run board --n-clusters 0", 2, ("--n-clusters takes auto, a whole number from 1", "found '0'")),
    Case("anoclust run board --splits tests", 2, ("--splits takes test or all", "'tests'", "did you mean test?")),
    Case("anoclust run board --recipe magic", 2, ("--recipe takes auto, sohn or blind", "found 'magic'")),
    Case("anoclust run board --device tpu", 2, ("--device takes auto, cpu, cuda", "'tpu'", "did you mean cpu?")),
    Case("anoclust run board --layers '2;3'", 2, ("--layers takes auto or numbers of feature levels", "found '2;3'")),
    Case(
        "anoclust run board --image-size 16", 2, ("--image-size takes auto or a whole number of pixels from 32", "'16'")
    ),
    Case("anoclust run board --max-bad-share 30", 2, ("--max-bad-share takes a share from 0 to 1", "found '30'")),
    Case("anoclust run board --memory lots", 2, ("--memory takes auto or a size such as 8GiB", "found 'lots'")),
    Case(
        "anoclust run board --store s3://bucket", 2, ("--store takes a folder", "s3://bucket", "mount it as a folder")
    ),
    Case("anoclust run board --normals s3://b/n", 2, ("--normals takes auto, none or a folder", "an object store")),
    Case("anoclust run board --checkpoint https://example.org/w.pth", 2, ("--checkpoint takes", "download it")),
    Case("anoclust run board --weights maps:s3://b/m", 2, ("--weights takes", "'maps:s3://b/m'", "an object store")),
    Case("anoclust run board --export-maps s3://b/m", 2, ("--export-maps takes a path", "an object store")),
    Case("anoclust benchmark board --out gs://b/out", 2, ("--out takes a path", "an object store")),
    Case("anoclust run board --splits all --normals none", 2, ("--splits all", "--normals none", "one of the two")),
    Case("anoclust run board --normals golden", 2, ("--normals takes auto, none or a folder", "golden")),
    Case("anoclust run board --category bord", 2, ("no category bord in board", "board")),
    Case("anoclust run board --n-clusters 9", 2, ("--n-clusters 9", "board has only 4 images")),
    Case("anoclust run board --export-maps board/maps", 2, ("is inside board", "name a folder outside it")),
    Case(
        "anoclust run board --backbone resnet_51",
        2,
        ("resnet_51", "did you mean", "resnet51q"),
        varies=r"(?<=one of ).*(?=\?)",
    ),
    Case("anoclust run board --checkpoint gone.pth", 2, ("--checkpoint expects a file with weights", "gone.pth")),
    Case(
        "anoclust run board --checkpoint evil.pth",
        4,
        ("evil.pth cannot be read as weights", ".safetensors"),
        prepare=evil_checkpoint,
        said="evil.pth: a pickle that runs a command",
        varies=r"(?<=weights )\(.*?\)(?=; expected)",
    ),
    Case(
        "anoclust run board --dask tcp://127.0.0.1:9",
        5,
        ("no Dask scheduler answers at tcp://127.0.0.1:9", "`dask scheduler`", "omit --dask"),
        varies=r"(?<=:9 )\(.*?\)(?=;)",
    ),
    Case(
        "anoclust run board --memory 1MiB",
        5,
        ("stage embed needs", "it may use 1.0 MiB", "lower --image-size", "or raise --memory"),
        varies=r"(?<=needs ).*?(?=; it may)",
    ),
    # variables
    Case("ANOCLUST_TAU=0.1 anoclust run board", 2, ("ANOCLUST_TAU is unknown", "did you mean ANOCLUST_WEIGH__TAU?")),
    Case("ANOCLUST_GROUP__N_CLUSTERS=many anoclust run board", 2, ("ANOCLUST_GROUP__N_CLUSTERS takes auto", "'many'")),
    Case("ANOCLUST_STORE= anoclust run board", 2, ("ANOCLUST_STORE takes a folder", "found ''")),
    Case("ANOCLUST_CONFIG=gone.toml anoclust run board", 2, ("no configuration file gone.toml", "config init")),
    Case("ANOCLUST_STORE=s3://b anoclust run board", 2, ("ANOCLUST_STORE takes a folder", "'s3://b'", "mount it")),
    # the file
    Case("anoclust run board --config gone.toml", 2, ("no configuration file gone.toml", "`anoclust config init`")),
    Case("anoclust config show", 2, ("unknown setting n_clusters", "group.n_clusters?"), **toml("n_clusters = 6")),
    Case("anoclust run board", 2, ("unknown section [wiegh]", "did you mean weigh?"), **toml("[wiegh]\ntau = 0.1")),
    Case("anoclust run board", 2, ("weigh is a section, [weigh], not a value", "found 0.1"), **toml("weigh = 0.1")),
    Case(
        "anoclust run board",
        2,
        ("embed.image_size takes auto or a whole number", "16"),
        **toml("[embed]\nimage_size = 16"),
    ),
    Case(
        "anoclust run board", 2, ("cannot be read as TOML", "line 1"), **toml("tau 0.1"), varies=r"(?<=TOML: ).*(?=; c)"
    ),
    Case("anoclust run board", 2, ("anoclust.toml: store takes a folder", "az://c/x"), **toml("store = 'az://c/x'")),
    Case("anoclust config init", 2, ("anoclust.toml already exists", "--force"), **toml("seed = 1")),
    # the data
    Case("anoclust run gone", 3, ("gone is neither a folder nor a manifest",)),
    Case("anoclust run empty", 3, ("no image in empty", ".png"), prepare=lambda: Path("empty").mkdir()),
    Case(
        "anoclust run notes.txt", 3, ("notes.txt is a file but not a manifest", ".csv or .tsv"), {"notes.txt": "hello"}
    ),
    Case("anoclust run images.csv", 3, ("lacks the column category", "found path"), **manifest("path\nboard/000.png")),
    Case(
        "anoclust run images.csv",
        3,
        ("line 2", "leads out of", "absolute"),
        **manifest("path,category\n../a.png,board"),
    ),
    Case("anoclust run images.csv", 3, ("line 2", "must not be empty"), **manifest("path,category\nboard/000.png,")),
    Case(
        "anoclust run images.csv",
        3,
        ("line 1", "the column path appears 2 times", "rename or remove"),
        **manifest("path,category,Path\nboard/000.png,board,board/001.png"),
    ),
    Case(
        "anoclust run images.csv",
        3,
        ("lacks the column path and category", "found path:category", "put a comma"),
        **manifest("path:category\nboard/000.png:board"),
    ),
    Case("anoclust run s3://bucket/board", 3, ("'s3://bucket/board'", "an object store", "mount it", "copy it")),
    Case("anoclust nightly https://example.org/board", 3, ("an address on the web", "download it")),
    Case("anoclust backfill gs://b/x --from 2026-01-01 --to 2026-01-02", 3, ("'gs://b/x'", "an object store")),
    Case("anoclust up --data sftp://host/board", 3, ("an address on another machine", "mount it")),
    Case("anoclust prepare mvtec az://c/board", 3, ("SOURCE", "an object store", "mount it")),
    Case("anoclust run '\\\\server\\board'", 3, ("is a share of another machine", "mount it")),
    Case(
        "anoclust run single",
        3,
        ("single has 1 usable images", "at least 2"),
        prepare=lambda: flat_folder(Path("single"), [1]),
    ),
    Case(
        "anoclust run broken", 3, ("broken", "not"), prepare=broken_images, said="broken: text files that end in .png"
    ),
    Case("anoclust run mixed", 3, ("MVTec layout", "001.png", "their own folder"), prepare=mixed_folder),
    Case("anoclust prepare mvtec board", 3, ("expected the layout of MVTec AD",)),
    # the store
    Case("anoclust run board --store notes.txt", 2, ("--store takes a folder", "is a file"), {"notes.txt": "hello"}),
    Case("anoclust run board --store /dev/null/store", 4, ("/dev/null/store", "that you may write to it")),
    Case("anoclust show", 4, ("no store at anoclust-store", "anoclust run DATA --store anoclust-store")),
    Case(
        "anoclust show",
        4,
        ("no runs in", "anoclust run DATA"),
        prepare=lambda: Path("anoclust-store").mkdir(),
        said="the store is empty",
    ),
    Case("anoclust store check", 4, ("no store at anoclust-store",)),
    Case(
        "anoclust store check --category bord",
        2,
        ("no category bord in", "did you mean board?"),
        prepare=lambda: Path("anoclust-store/runs/board").mkdir(parents=True),
        said="the store has the category board",
    ),
    Case(
        "anoclust run board",
        7,
        ("another run of category board is in progress", "--wait-seconds"),
        during=another_run,
        said="while another run of it goes on",
        varies=r"\(process.*?\)",
    ),
    Case(
        "anoclust run board", INTERRUPTED, ("stopped", "run the same command to resume"), during=ctrl_c, said="Ctrl-C"
    ),
]


@dataclass(frozen=True)
class Outcome:
    """What a wrong command ended with: its code, the one line that is the message, and all that it printed."""

    code: int
    message: str
    stdout: str
    everything: str


def outcome_of(case: Case, checkpoint: Path) -> Outcome:
    """Run a wrong command in the current folder."""
    flat_folder(Path("board"), range(4))
    for name, text in case.files.items():
        Path(name).write_text(text)
    case.prepare()
    words = shlex.split(case.command)
    at = words.index("anoclust")
    asked = dict(word.split("=", 1) for word in words[:at])
    environment = {**_tiny_settings(case, checkpoint), **asked, "COLUMNS": "200"}
    with pytest.MonkeyPatch.context() as patched, case.during():
        patched.setattr(dask_jobs, "CONNECT_SECONDS", 0.5)
        result = CliRunner().invoke(app, words[at + 1 :], prog_name="anoclust", env=environment)
    lines = result.stderr.splitlines()
    messages = [line for line in lines if line.startswith("anoclust: ")]
    others = [line for line in lines if not re.fullmatch(r"(anoclust: .*|[\w ]+: [\d,]+)", line)]
    assert (len(messages), others) == (1, []), result.output
    return Outcome(result.exit_code, messages[0], result.stdout, result.output)


def _tiny_settings(case: Case, checkpoint: Path) -> dict[str, str]:
    """Let commands that come far enough run with the tiny backbone, where that is not what they are wrong about."""
    settings = {
        "ANOCLUST_EMBED__BACKBONE": TINY_BACKBONE,
        "ANOCLUST_EMBED__CHECKPOINT": str(checkpoint),
        "ANOCLUST_EMBED__IMAGE_SIZE": str(TINY_SIDE),
        "ANOCLUST_EMBED__DEVICE": "cpu",
        "ANOCLUST_DATA__SETTLE_SECONDS": "0",
    }
    if "--backbone" in case.command:
        del settings["ANOCLUST_EMBED__CHECKPOINT"]
    if "image_size" in str(case.files):
        del settings["ANOCLUST_EMBED__IMAGE_SIZE"]
    return settings


@pytest.fixture(scope="module")
def rows() -> dict[Case, str]:
    """Rows of the page, as the tests of this module find them."""
    return {}


@pytest.mark.usefixtures("prefect_db")
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.command} {case.said}")
def test_wrong_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: Path, rows: dict[Case, str], case: Case
) -> None:
    """A wrong command ends with its exit code and one paragraph: what was expected, what was found, what to do."""
    monkeypatch.chdir(tmp_path)
    outcome = outcome_of(case, checkpoint)
    assert outcome.code == case.code, outcome.everything
    assert "Traceback" not in outcome.everything
    for word in case.words:
        assert word in outcome.message
    assert not Path("owned").exists()
    assert outcome.stdout == "" or "failed" in outcome.stdout or case.code == errors.NOTHING_CAME
    rows[case] = row_of(case, outcome, tmp_path)


def row_of(case: Case, outcome: Outcome, here: Path) -> str:
    """Row of the page, without what differs between machines."""
    message = (
        outcome.message.removeprefix("anoclust: ").replace(f"{here}/", "").replace(str(here), "the current folder")
    )
    if case.varies:
        message, found = re.subn(case.varies, "…", message)
        assert found == 1, (case.varies, message)
    given = f"<br>{case.said}" if case.said else ""
    return f"| `{_cell(case.command)}`{given} | {case.code} | {_cell(message)} |"


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("<", "&lt;")


def exit_codes() -> list[str]:
    """Rows of all exit codes, from the errors themselves."""
    found = {0: "Everything went well.", UNEXPECTED: "Internal error: a bug in Anoclust; `--debug` shows where."}
    found[errors.NOTHING_CAME] = (
        "All went well, but no image came to a category: its folder is empty or gone, or all its images are of later "
        "nights."
    )
    found[INTERRUPTED] = "Stopped with Ctrl-C; run the same command to resume."
    for error in vars(errors).values():
        if isinstance(error, type) and error.__module__ == errors.__name__ and "exit_code" in vars(error):
            found.setdefault(error.exit_code, f"{(error.__doc__ or '').partition('.')[0]}.")
    return [f"| {code} | {text} |" for code, text in sorted(found.items())]


PAGE_TEXT = """\
# Errors

Whatever is wrong with a command, its settings, its data or its store is told in one paragraph on standard error: what
was expected, what was found, what to do. `--debug` shows the traceback instead. Settings come from flags, then
`ANOCLUST_*` variables, then `anoclust.toml`, then defaults; the message names the source.

## Exit codes

| code | meaning |
|---|---|
{codes}

A complete result ends with code 0, whatever a Prefect server does afterwards. Where some categories of a run fail, the
others are finished, and the code is that of the first failure.

Passwords in addresses are hidden in every message (`***`): [deployments](deployments.md#passwords). In Python, a public
function of `anoclust_core` that gets arrays against its docstring (none, empty ones, rows of different lengths, another
number of dimensions, texts, complex numbers) raises an `ArrayContractError` that says what was expected and what was
found. A wrong option that is not an array raises a `ConfigError`.

## Messages

`tests/flows/cli/test_wrong_commands.py` runs every command below, next to a folder `board` of four images; `…` stands
for what differs between machines.

| command | code | message |
|---|---|---|
{messages}
"""


def page(rows: dict[Case, str]) -> str:
    """Text of docs/errors.md."""
    return PAGE_TEXT.format(codes="\n".join(exit_codes()), messages="\n".join(rows[case] for case in CASES))


def test_the_page_tells_what_happens(
    rows: dict[Case, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: Path, prefect_db: None
) -> None:
    """docs/errors.md is what the commands really say; `REWRITE_DOCS=1 pytest` on this file writes it again."""
    for number, case in enumerate(CASES):
        if case not in rows:
            (tmp_path / str(number)).mkdir()
            monkeypatch.chdir(tmp_path / str(number))
            rows[case] = row_of(case, outcome_of(case, checkpoint), tmp_path / str(number))
    if os.environ.get(REWRITE):
        PAGE.write_text(page(rows), encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == page(rows), (
        f"{REWRITE}=1 pytest {Path(__file__).name} writes the page again"
    )


def test_every_exit_code_of_a_user_is_shown() -> None:
    """Each exit code that a user can bring about has a command in the table; at least 36 commands are wrong."""
    assert {case.code for case in CASES} == {2, 3, 4, 5, 7, 9, 10, INTERRUPTED}
    assert len(CASES) >= 36
    assert len({(case.command, case.said) for case in CASES}) == len(CASES)


@pytest.mark.parametrize("command", [["run", "gone"], ["show"], ["run", "board", "--tau", "hot"]])
def test_scripts_get_no_half_of_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]) -> None:
    """With --json a command that fails prints its message on standard error, and nothing where JSON is expected."""
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, [*command, "--json"])
    assert result.exit_code in (2, 3, 4)
    assert result.stdout == ""
    assert result.stderr.startswith("anoclust: ")


def test_a_fault_of_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even a fault of Anoclust itself is one paragraph with exit code 1, and a traceback only with --debug."""

    def faulty(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a fault\n of two lines")

    monkeypatch.setattr("flows.run.list_datasets", faulty)
    result = CliRunner().invoke(app, ["run", str(tmp_path)], prog_name="anoclust")
    assert result.exit_code == UNEXPECTED
    assert result.stderr == (
        "anoclust: internal error; this is a bug in Anoclust: ZeroDivisionError: a fault of two lines; please report "
        "it, with what --debug shows\n"
    )
    with pytest.raises(ZeroDivisionError):
        CliRunner().invoke(app, ["run", str(tmp_path), "--debug"], catch_exceptions=False)


def program(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    """Start the command as a terminal does."""
    code = "from flows.cli import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, **environment},
        cwd=Path(__file__).parents[3],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def tiny_flags(checkpoint: Path) -> list[object]:
    own = ["--backbone", TINY_BACKBONE, "--checkpoint", checkpoint, "--image-size", TINY_SIDE, "--device", "cpu"]
    return [*own, "--settle-seconds", 0]


@pytest.mark.slow
def test_no_prefect_server_at_the_address(tmp_path: Path, checkpoint: Path) -> None:
    """A PREFECT_API_URL that leads nowhere is told in one paragraph with what to do."""
    data = flat_folder(tmp_path / "board", range(4))
    process = program(
        "run", data, "--store", tmp_path / "store", *tiny_flags(checkpoint), PREFECT_API_URL="http://127.0.0.1:9/api"
    )
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 5, stderr
    assert "no Prefect server answers" in stderr.splitlines()[-1]
    assert "unset PREFECT_API_URL" in stderr.splitlines()[-1]
    assert "Traceback" not in stderr


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["reading files", "embedding images"])
def test_ctrl_c(tmp_path: Path, checkpoint: Path, stage: str) -> None:
    """Ctrl-C, before or after Prefect has started: one line, exit code 130, no traceback; then it can be finished."""
    data = flat_folder(tmp_path / "board", range(30))
    arguments = ["run", data, "--store", tmp_path / "store", *tiny_flags(checkpoint)]
    process = program(*arguments)
    assert process.stderr is not None
    seen = ""
    while stage not in seen:
        line = process.stderr.readline()
        assert line, f"it ended before {stage}: {seen}"
        seen += line
    process.send_signal(signal.SIGINT)
    stdout, rest = process.communicate(timeout=120)
    told = [line for line in (seen + rest).splitlines() if line.startswith("anoclust: ")]
    assert process.returncode == INTERRUPTED, seen + rest
    *waited, last = told
    assert last == "anoclust: stopped; finished work is kept; run the same command to resume"
    assert all("waiting for it" in line for line in waited)  # on a slow machine the server's start is told
    assert "Traceback" not in stdout + rest
    again = program(*arguments)
    stdout, stderr = again.communicate(timeout=200)
    assert again.returncode == 0, stderr
    assert "board" in stdout
