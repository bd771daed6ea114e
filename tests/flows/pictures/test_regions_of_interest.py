"""Runs and nights that look at a part of every picture: what moves beside it has no say any more."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.builders import save_image, tiny_config, write_manifest_csv
from helpers.running import assignments, pairs_among, run_folder, run_one, work
from helpers.streams import CATEGORY, Stream, day, night_config
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from anoclust_core.config import RunConfig
from anoclust_core.errors import ConfigError, DatasetError
from anoclust_core.evaluation.partitions import normalized_mutual_information
from flows.check.run import check_data
from flows.nights.run import run_nights
from flows.run import CategoryOutcome, run_data
from tasks.store_check.store import check_store
from tasks.stores import arrays
from tasks.stores.embeddings import EmbeddingSegments
from tasks.stores.layout import StoreLayout

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_db")]

SIDE = 128
"""Pixels of a frame; a patch of the tiny network is 8 of them."""

LEFT = 48
"""Where the part begins; what is left of it is background, in which a robot's arm moves."""

N_INSIDE, N_PATCHES = 160, 256

DEFECTS = ("good", "hole", "scratch")
ARMS = ("away", "bar", "board")


def frame(seed: int, defect: str, arm: str) -> NDArray[np.uint8]:
    """Draw a part with a defect somewhere, and beside it a robot's arm that holds a tool, at any height."""
    rng = np.random.default_rng(seed)
    grey = rng.normal(120, 8, (SIDE, SIDE)).clip(0, 255).astype(np.uint8)
    image = Image.fromarray(np.repeat(grey[:, :, None], 3, axis=2))
    draw = ImageDraw.Draw(image)
    x, y = int(rng.integers(LEFT + 14, SIDE - 32)), int(rng.integers(8, SIDE - 32))
    if defect == "hole":
        draw.ellipse((x, y, x + 18, y + 18), fill=(250, 240, 60))
    elif defect == "scratch":
        for offset in (0, 6, 12):
            draw.line((x + offset, y, x + offset + 8, y + 20), fill=(0, 0, 40), width=2)
    top = int(rng.integers(0, SIDE - 64))
    if arm == "bar":
        draw.rectangle((0, top, 31, top + 63), fill=(255, 30, 30))
    elif arm == "board":
        for row in range(8):
            for column in range(4):
                white = (row + column) % 2
                draw.rectangle((8 * column, top + 8 * row, 8 * column + 7, top + 8 * row + 7), fill=(255 * white,) * 3)
    return np.asarray(image)


def kinds(number: int) -> tuple[str, str]:
    """Defect and tool of a frame: every defect is seen before every tool."""
    return DEFECTS[number % 3], ARMS[number // 3 % 3]


def frames(folder: Path, n_frames: int = 18) -> Path:
    """Save frames by their numbers."""
    for number in range(n_frames):
        save_image(folder / f"{number:03d}.png", frame(number, *kinds(number)))
    return folder


def mask_file(path: Path, *, side: int = SIDE, left: int = LEFT) -> Path:
    """Save a mask that is white where the part is."""
    mask = np.zeros((side, side), np.uint8)
    mask[:, left:] = 255
    return save_image(path, mask)


def polygon_file(path: Path) -> Path:
    """Save the same region as LabelMe does."""
    points = [[LEFT, 0], [SIDE, 0], [SIDE, SIDE], [LEFT, SIDE]]
    shape = {"label": "part", "points": points, "shape_type": "polygon"}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"shapes": [shape], "imageHeight": SIDE, "imageWidth": SIDE, "imagePath": "000.png"}))
    return path


def follows(clusters: dict[str, Any]) -> tuple[float, float]:
    """How well clusters agree with defects, and with tools, by the number in every name."""
    told = [kinds(int(Path(name).stem)) for name in clusters]
    defects, arms = zip(*told, strict=True)
    found = list(clusters.values())
    return normalized_mutual_information(defects, found), normalized_mutual_information(arms, found)


def of_run(outcome: CategoryOutcome) -> tuple[float, float]:
    """How well the clusters of a run agree with defects, and with tools."""
    return follows(assignments(outcome)["cluster"].to_dict())


def notes_of(outcome: CategoryOutcome) -> list[str]:
    return [note for note in outcome.summary["notes"] if note.startswith("Only a part of each picture")]


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with frames, a mask, and a store that all runs over them share."""
    root = tmp_path_factory.mktemp("moving")
    frames(root / "parts", 36)
    mask_file(root / "mask.png")
    return root


def settings(checkpoint: Path, **own: Any) -> Any:
    return tiny_config(checkpoint, **{"image_size": SIDE, "n_clusters": 3, **own})


@pytest.mark.parametrize("recipe", ["auto", "sohn"])
def test_a_moving_background_wins_and_is_gone_with_a_mask(moving: Path, checkpoint: Path, recipe: str) -> None:
    """Without a mask clusters follow the robot's arm, with one the defects; nothing is embedded again for that."""
    data, store = moving / "parts", moving / "store"
    without = run_one(data, store, settings(checkpoint, recipe=recipe))
    defects, arms = of_run(without)
    assert defects < 0.5 < arms
    masked = run_one(data, store, settings(checkpoint, recipe=recipe, roi=str(moving / "mask.png")))
    defects, arms = of_run(masked)
    assert defects > 0.95
    assert arms < 0.05
    assert masked.summary["keys"]["embedding"] == without.summary["keys"]["embedding"]
    assert masked.work["images_embedded"] == 0
    assert masked.work["pair_products"] in (0, pairs_among(36))  # of the other recipe's run they are there
    assert notes_of(without) == []
    assert f"{N_INSIDE} of {N_PATCHES} patches" in notes_of(masked)[0]


def test_rarity_is_measured_among_the_patches_inside(moving: Path, checkpoint: Path) -> None:
    """Each patch inside is as rare as its mean distance to the nearest patch inside of the others; no other has any."""
    data, store = moving / "parts", moving / "store"
    outcome = run_one(data, store, settings(checkpoint, recipe="sohn", roi=str(moving / "mask.png")))
    rows, layout = assignments(outcome).sort_values("sha256"), StoreLayout(store)
    segments = EmbeddingSegments(layout.folder("embeddings", "parts", outcome.summary["keys"]["embedding"]))
    inside = np.zeros((16, 16), np.bool_)
    inside[:, LEFT // 8 :] = True
    bags = segments.read(rows["sha256"].tolist())[:, inside.ravel()]
    folder = layout.folder("weights", "parts", outcome.summary["keys"]["weigh"])
    rarity, weights = arrays.read(folder, "rarity"), arrays.read(folder, "weights")
    for at in (0, 17, 35):
        others = np.delete(np.arange(len(bags)), at)
        nearest = [np.linalg.norm(bags[at][:, None] - bags[other][None], axis=2).min(axis=1) for other in others]
        np.testing.assert_allclose(rarity[at][inside.ravel()], np.mean(nearest, axis=0), atol=3e-3)
    assert not weights[:, ~inside.ravel()].any()
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)
    assert (rarity[:, ~inside.ravel()] == rarity.min(axis=1, keepdims=True)).all()


def test_a_region_enters_keys_by_what_it_is(moving: Path, checkpoint: Path) -> None:
    """The same part from a polygon, in another file, is the same run; one row of pixels less is another."""
    data, store = moving / "parts", moving / "store"
    masked = run_one(data, store, settings(checkpoint, recipe="sohn", roi=str(moving / "mask.png")))
    same = run_one(data, store, settings(checkpoint, recipe="sohn", roi=str(polygon_file(moving / "polygon.json"))))
    assert (same.is_new, same.run) == (False, masked.run)
    another = mask_file(moving / "smaller.png", left=LEFT + 1)
    smaller = run_one(data, store, settings(checkpoint, recipe="sohn", roi=str(another)))
    assert smaller.is_new
    assert smaller.work == work(0, pairs_among(36))


def test_without_a_region_keys_are_as_they_were(moving: Path, checkpoint: Path) -> None:
    """No part of a run's keys knows of regions where there are none: what earlier versions made is found."""
    plain = run_one(moving / "parts", moving / "store", settings(checkpoint, recipe="sohn", roi="none"))
    assert plain.summary["embedding"]["region"] is None
    assert not any("region" in name for name in plain.summary["keys"])
    assert "roi" not in assignments(plain).columns


@pytest.mark.parametrize(
    ("recipe", "own", "patches"),
    [
        ("auto", {"tiles": "2x2"}, 640),
        ("auto", {"tiles": "2x2", "aligned": True, "window": 1}, 640),
        ("sohn", {"tiles": "2x2", "aligned": True, "window": 1}, 640),
        ("auto", {"tiles": "2x2", "reference_patches": 64}, 640),
        ("auto", {"resize": "pad"}, N_INSIDE),
        ("sohn", {"weights": "uniform"}, N_INSIDE),
    ],
    ids=["tiles", "aligned", "aligned, sohn", "reference patches", "pad", "uniform"],
)
def test_every_way_of_looking(moving: Path, checkpoint: Path, recipe: str, own: dict[str, Any], patches: int) -> None:
    """Frames in tiles, aligned, with few patches of each, padded: what lies outside has no weight, clusters no arm."""
    config = settings(checkpoint, recipe=recipe, roi=str(moving / "mask.png"), **own)
    found = run_one(moving / "parts", moving / "store", config)
    layout = StoreLayout(moving / "store")
    weights = arrays.read(layout.folder("weights", "parts", found.summary["keys"]["weigh"]), "weights")
    side = round(weights.shape[1] ** 0.5)
    assert not weights.reshape(-1, side, side)[:, :, : side * LEFT // SIDE].any()
    assert f"{patches:,} of {side * side:,} patches" in notes_of(found)[0]
    defects, arms = of_run(found)
    assert arms < 0.1
    assert defects > 0.9 or own.get("weights") == "uniform"


def test_cropped_frames_lose_the_same_of_the_region(tmp_path: Path, checkpoint: Path) -> None:
    """Of frames twice as wide the middle is seen: the region is cut as they are."""
    for number in range(6):
        wide = np.concatenate([frame(number, *kinds(number)), frame(100 + number, "good", "away")], axis=1)
        save_image(tmp_path / "parts" / f"{number:03d}.png", wide)
    mask = np.zeros((SIDE, 2 * SIDE), np.uint8)
    mask[:, SIDE:] = 255  # the right half of it: of the middle too
    roi = save_image(tmp_path / "mask.png", mask)
    config = settings(checkpoint, recipe="sohn", roi=str(roi), resize="crop", n_clusters=2)
    found = run_one(tmp_path / "parts", tmp_path / "store", config)
    assert "128 of 256 patches" in notes_of(found)[0]


def test_a_region_beside_the_images(tmp_path: Path, checkpoint: Path) -> None:
    """A hidden file in the category's folder is the region, and no image; the report tells it."""
    data = frames(tmp_path / "data" / "parts", 18)
    mask_file(data / ".roi.png")
    found = run_one(tmp_path / "data", tmp_path / "store", settings(checkpoint, recipe="sohn"))
    assert found.summary["images"]["total"] == 18
    assert of_run(found)[0] > 0.9
    page = (run_folder(found) / "report.html").read_text(encoding="utf-8")
    assert "Only a part of each picture is looked at, 160 of 256 patches" in page
    off = run_one(tmp_path / "data", tmp_path / "store", settings(checkpoint, recipe="sohn", roi="none"))
    assert notes_of(off) == []


def test_a_mask_of_the_wrong_size_names_both(tmp_path: Path, checkpoint: Path) -> None:
    """The size of the image, the size of the region, and both files; one odd image among many is set aside so."""
    data = frames(tmp_path / "parts", 18)
    roi = mask_file(tmp_path / "mask.png", side=64)
    with pytest.raises(DatasetError) as caught:
        run_one(data, tmp_path / "store", settings(checkpoint, roi=str(roi)))
    told = f"000.png is 128 x 128 pixels and its region {roi} is 64 x 64 pixels"
    assert told in str(caught.value)
    assert not (tmp_path / "store" / "embeddings").exists()
    save_image(data / "small.png", frame(0, "good", "away")[:100])
    found = run_one(data, tmp_path / "store", settings(checkpoint, recipe="sohn", roi=str(mask_file(roi))))
    (bad,) = found.summary["quarantine"]
    assert bad["path"] == "small.png"
    assert f"is 128 x 100 pixels and its region {roi} is 128 x 128 pixels" in bad["reason"]


def test_a_region_of_which_no_patch_remains(tmp_path: Path, checkpoint: Path) -> None:
    """Refused before anything is embedded, with what to do."""
    data = frames(tmp_path / "parts", 4)
    roi = mask_file(tmp_path / "mask.png", left=SIDE - 2)
    with pytest.raises(DatasetError, match=r"no patch remains in the region of 000\.png: it has 1\.56% of 128 x 128"):
        run_one(data, tmp_path / "store", settings(checkpoint, n_clusters=2, roi=str(roi)))
    assert not (tmp_path / "store" / "embeddings").exists()


@pytest.mark.parametrize("own", [{"recipe": "blind"}, {"recipe": "sohn", "distance": "mean_mean"}])
def test_what_looks_at_whole_pictures_is_refused(moving: Path, checkpoint: Path, own: dict[str, Any]) -> None:
    """Recipe blind and Hausdorff distances say so, and how to go on."""
    config = settings(checkpoint, roi=str(moving / "mask.png"), **own)
    with pytest.raises(ConfigError, match=r"knows no region; .*--roi none"):
        run_one(moving / "parts", moving / "store", config)


def test_a_picture_that_is_turned_by_exif(tmp_path: Path, checkpoint: Path) -> None:
    """A region is drawn on the picture as it is seen, and lies where it was drawn, however the pixels are stored."""
    (tmp_path / "parts").mkdir()
    for number in range(18):
        upright = frame(number, *kinds(number))
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(np.rot90(upright)).save(tmp_path / "parts" / f"{number:03d}.png", exif=exif)
    found = run_one(
        tmp_path / "parts",
        tmp_path / "store",
        settings(checkpoint, recipe="sohn", roi=str(mask_file(tmp_path / "mask.png"))),
    )
    assert of_run(found)[0] > 0.9


def flipped(folder: Path, n_frames: int = 18) -> list[dict[str, str]]:
    """Save frames, every second one with the part on the other side; gives a manifest's rows with masks."""
    sides = (mask_file(folder / "left.png"), folder / "right.png")
    save_image(sides[1], np.asarray(Image.open(sides[0]))[:, ::-1])
    rows = []
    for number in range(n_frames):
        pixels = frame(number, *kinds(number))
        save_image(folder / "parts" / f"{number:03d}.png", pixels[:, ::-1] if number % 2 else pixels)
        rows.append({"path": f"parts/{number:03d}.png", "category": "part", "roi": sides[number % 2].name})
    return rows


def test_a_region_for_every_image(tmp_path: Path, checkpoint: Path) -> None:
    """The column ``roi`` of a manifest; an image without one has that of the category, a bad cell is one bad row."""
    rows = flipped(tmp_path)
    manifest = write_manifest_csv(tmp_path / "images.csv", rows)
    config = settings(checkpoint, recipe="auto")
    found = run_one(manifest, tmp_path / "store", config)
    defects, arms = of_run(found)
    assert defects > 0.8
    assert arms < 0.1
    assert of_run(run_one(manifest, tmp_path / "store", settings(checkpoint, roi="none")))[0] < 0.5
    assert assignments(found)["roi"].nunique() == 2
    assert "160 of 256 patches" in notes_of(found)[0]
    without = [{**row, "roi": "" if number % 2 == 0 else row["roi"]} for number, row in enumerate(rows)]
    without[1] = {**without[1], "roi": "gone.png"}
    write_manifest_csv(manifest, without)
    same = run_one(manifest, tmp_path / "store", settings(checkpoint, roi=str(tmp_path / "left.png")))
    assert of_run(same)[0] > 0.8
    (bad,) = same.summary["quarantine"]
    assert bad["reason"] == "line 3: its roi gone.png is no file that is there"


def test_polygons_of_every_picture(tmp_path: Path, checkpoint: Path) -> None:
    """A COCO file with several pictures gives each image its own; one that it lacks is an error that names it."""
    flipped(tmp_path, 6)
    images, annotations = [], []
    for number in range(6):
        left = LEFT if number % 2 == 0 else 0
        right = left + SIDE - LEFT
        images.append({"id": number, "file_name": f"{number:03d}.png", "height": SIDE, "width": SIDE})
        annotations.append({"id": number, "image_id": number, "category_id": 1, "iscrowd": 0})
        annotations[-1]["segmentation"] = [[left, 0, right, 0, right, SIDE, left, SIDE]]
    path = tmp_path / "coco.json"
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "part"}]}
    path.write_text(json.dumps(content))
    found = run_one(tmp_path / "parts", tmp_path / "store", settings(checkpoint, n_clusters=2, roi=str(path)))
    assert assignments(found)["roi"].nunique() == 2
    path.write_text(json.dumps({**content, "images": images[:5], "annotations": annotations[:5]}))
    with pytest.raises(DatasetError, match=r"polygons for 5 pictures .* and none for 005\.png"):
        run_one(tmp_path / "parts", tmp_path / "store", settings(checkpoint, n_clusters=2, roi=str(path)))


def test_each_category_has_its_own(tmp_path: Path, checkpoint: Path) -> None:
    """As sections of anoclust.toml give it; the others are looked at as a whole."""
    frames(tmp_path / "data" / "a", 6)
    frames(tmp_path / "data" / "b", 6)
    config = settings(checkpoint, n_clusters=2, recipe="sohn")
    own = settings(checkpoint, n_clusters=2, recipe="sohn", roi=str(mask_file(tmp_path / "mask.png")))
    a, b = run_data(tmp_path / "data", tmp_path / "store", config.with_own({"b": own}))
    assert a.error is None
    assert b.error is None
    assert (len(notes_of(a)), len(notes_of(b))) == (0, 1)


def test_a_check_tells_what_is_looked_at(moving: Path, tmp_path: Path, checkpoint: Path) -> None:
    """How much of the pictures, or what is wrong with the region, before the first run."""
    config = settings(checkpoint, roi=str(moving / "mask.png"))
    (found,) = check_data(moving / "parts", tmp_path / "store", config, sample=12).categories
    assert any("160 of 256 patches" in note for note in found.notes)
    wrong = settings(checkpoint, roi=str(mask_file(tmp_path / "mask.png", side=64)))
    (found,) = check_data(moving / "parts", tmp_path / "store", wrong, sample=12).categories
    assert "is 128 x 128 pixels and its region" in str(found.error)


def test_a_damaged_mask_is_written_again(tmp_path: Path, checkpoint: Path) -> None:
    """The store's copy is checked like everything else, and made again from the file that it came from."""
    data = frames(tmp_path / "parts", 4)
    config = settings(checkpoint, n_clusters=2, recipe="sohn", roi=str(mask_file(tmp_path / "mask.png")))
    first = run_one(data, tmp_path / "store", config)
    layout = StoreLayout(tmp_path / "store")
    (kept,) = (layout.root / "regions").iterdir()
    before = kept.read_bytes()
    kept.write_bytes(before.replace(b"48", b"47", 1))
    (finding,) = check_store(layout).findings
    assert kept.name in finding.path
    assert run_one(data, tmp_path / "store", config).run == first.run
    assert kept.read_bytes() == before
    assert check_store(layout).findings == ()


def deliver(stream: Stream, number: int, first: int, arms: tuple[str, ...]) -> None:
    """Three frames of every tool, one of each defect, counted from ``first``."""
    for at in range(first, first + 3 * len(arms)):
        path = stream.data / CATEGORY / str(day(number)) / f"{at:03d}.png"
        save_image(path, frame(at, DEFECTS[at % 3], arms[at // 3 % len(arms)]))
        stream.list(path, "")


def looking_at(config: RunConfig, roi: str) -> RunConfig:
    return config.model_copy(update={"data": config.data.model_copy(update={"roi": roi})})


def stream_of(folder: Path, checkpoint: Path, recipe: str, roi: str) -> Stream:
    config = night_config(checkpoint, recluster_every="none", image_size=SIDE, recipe=recipe, n_clusters=3)
    return Stream(folder, looking_at(config, roi))


@pytest.mark.parametrize("recipe", ["auto", "sohn"])
def test_nights_look_at_the_same_part(tmp_path: Path, checkpoint: Path, recipe: str) -> None:
    """Clusters follow the defects, a new tool is no news, and only new images are compared; another region counts."""
    stream = stream_of(tmp_path, checkpoint, recipe, str(mask_file(tmp_path / "mask.png")))
    deliver(stream, 0, 0, ("away", "bar") * 3)
    stream.night(0)
    assert follows(stream.partition())[0] > 0.9
    deliver(stream, 1, 18, ("board", "board"))  # a tool that was never seen
    second = stream.night(1)
    assert second.reclustered is None
    assert second.work["pair_products"] <= 6 * 18 + 15
    assert second.counters["new_clusters"] == 0
    assert second.counters["unknown"] == 0
    assert follows(stream.partition())[0] > 0.9
    page = second.report.read_text() if second.report else ""
    assert "Only a part of each picture is looked at, 160 of 256 patches" in page
    stream.config = looking_at(stream.config, str(polygon_file(tmp_path / "polygon.json")))
    deliver(stream, 2, 24, ("away",))
    assert stream.night(2).reclustered is None  # the same region in another file
    stream.config = looking_at(stream.config, "none")
    assert stream.night(3).reclustered == "backbone, recipe or settings were changed"


def test_nights_without_a_mask_follow_the_background(tmp_path: Path, checkpoint: Path) -> None:
    """The robot's arm decides who is with whom on the first night, and for what comes after it."""
    stream = stream_of(tmp_path, checkpoint, "auto", "none")
    deliver(stream, 0, 0, ARMS * 4)
    stream.night(0)
    deliver(stream, 1, 36, ARMS * 2)
    assert stream.night(1).reclustered is None
    clusters = stream.partition()
    for found in (clusters, {name: cluster for name, cluster in clusters.items() if int(Path(name).stem) >= 36}):
        defects, arms = follows(found)
        assert defects < 0.5 < arms


def test_a_folder_that_is_gone_takes_no_region_along(tmp_path: Path, checkpoint: Path) -> None:
    """A night whose images were all moved away, with the region beside them, does not cluster the rest without it."""
    config = night_config(checkpoint, recluster_every="none", image_size=SIDE, recipe="sohn", n_clusters=3)
    data, store = tmp_path / "data", tmp_path / "store"
    frames(data / CATEGORY / str(day(0)), 9)
    mask_file(data / CATEGORY / ".roi.png")
    (first,) = run_nights(data, store, config, as_of=day(0))
    assert (first.error, first.reclustered) == (None, "the first time")
    shutil.rmtree(data / CATEGORY)
    (second,) = run_nights(data, store, config, as_of=day(1))
    assert (second.error, second.reclustered) == (None, None)


def test_a_region_that_comes_after_images_of_another_size(tmp_path: Path, checkpoint: Path) -> None:
    """Known images that do not have its size are no bad files: they are left out, said so once, and nothing breaks."""
    stream = stream_of(tmp_path, checkpoint, "sohn", "none")
    deliver(stream, 0, 0, ("away", "bar") * 3)
    for number in range(6):
        path = stream.data / CATEGORY / str(day(0)) / f"small-{number}.png"
        save_image(path, frame(200 + number, DEFECTS[number % 3], "away")[:100])
        stream.list(path, "")
    stream.night(0)
    stream.config = looking_at(stream.config, str(mask_file(tmp_path / "mask.png")))
    deliver(stream, 1, 18, ("away", "away"))
    found = stream.night(1)
    assert found.reclustered == "backbone, recipe or settings were changed"
    assert found.counters["quarantined"] == 0
    (told,) = [note for note in found.notes if "size of the region" in note]
    assert told.startswith("6 known images do not have the size of the region and were not clustered again")
    assert "is 128 x 100 pixels and its region is 128 x 128 pixels" in told
    deliver(stream, 2, 24, ("away",))
    later = stream.night(2)
    assert (later.reclustered, later.counters["quarantined"]) == (None, 0)
    assert not [note for note in later.notes if "size of the region" in note]
