from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import bad_files
from helpers.bad_files import CLUSTERED, DEFERRED, PICTURE, QUARANTINED, Specimen, specimens
from helpers.builders import config_of, surface
from numpy.typing import NDArray
from PIL import Image

from anoclust_core.records import DatasetManifest
from tasks.images.decoding import UnreadableImageError, UnreadNowError, decode_image, read_image
from tasks.images.listing import list_datasets

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="pipes, links and any bytes in names")

DOCUMENT = Path(__file__).parents[3] / "docs" / "inputs.md"
TABLE = re.compile(r"(?<=<!-- table -->\n).*(?=<!-- /table -->)", re.DOTALL)
GREY = np.asarray(Image.fromarray(PICTURE).convert("L").convert("RGB"))

JARGON = re.compile(
    r"Traceback|\w+Error\b|Exception|object at 0x|<[a-z_]+\.|[Ee]rrno|\bNone\b|\bPIL\b|\bPillow\b|\bbuffer\b|__|\\x|b'"
)


class Fates:
    """What becomes of every specimen, as a run finds out: listed, then decoded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        bad_files.make(folder, CLUSTERED, QUARANTINED, DEFERRED)
        self.pixels: dict[str, NDArray[np.uint8]] = {}
        bad, later = {}, {}
        with bad_files.world():
            (listed,) = list_datasets(folder, config_of(settle_seconds=2.0))
            for image in listed.images:
                try:
                    self.pixels[image.path] = read_image(Path(image.file), sha256=image.sha256)
                except UnreadNowError as error:
                    later[image.sha256] = str(error)
                except UnreadableImageError as error:
                    bad[image.sha256] = str(error)
        self.n_listed = listed.n_total
        self.manifest: DatasetManifest = listed.without(bad).deferring(later)
        self.reasons = {entry.path: entry.reason for entry in (*self.manifest.quarantine, *self.manifest.deferred)}
        self.places = [
            *((image.path, CLUSTERED) for image in self.manifest.images),
            *((entry.path, QUARANTINED) for entry in self.manifest.quarantine),
            *((entry.path, DEFERRED) for entry in self.manifest.deferred),
        ]

    def of(self, specimen: Specimen) -> tuple[str, str]:
        """Where a specimen ended, and why."""
        path = f"{specimen.path}/inside.png" if specimen.name == "linked" else specimen.path
        (place,) = [place for found, place in self.places if found == path]
        return place, self.reasons.get(path, "")


@pytest.fixture(scope="module")
def fates(tmp_path_factory: pytest.TempPathFactory) -> Fates:
    folder = tmp_path_factory.mktemp("zoo") / "board"
    folder.mkdir()
    return Fates(folder)


def test_the_zoo_is_large():
    """There are at least 40 bad files in 15 kinds, and as many odd but valid ones that must not be refused."""
    bad = [specimen for specimen in specimens() if specimen.becomes != CLUSTERED]
    valid = [specimen for specimen in specimens() if specimen.becomes == CLUSTERED]
    assert len(bad) >= 40
    assert len({specimen.kind for specimen in bad}) >= 15
    assert len(valid) >= 40
    assert len({specimen.path for specimen in specimens()}) == len(specimens())


@pytest.mark.parametrize("specimen", specimens(), ids=lambda specimen: f"{specimen.kind}: {specimen.what}")
def test_every_kind_of_file(fates, specimen):
    """Each kind is clustered, quarantined or deferred as it should; whoever is set aside has a reason."""
    place, reason = fates.of(specimen)
    assert place == specimen.becomes, reason
    assert bool(reason) == (place != CLUSTERED)


def test_no_file_vanishes(fates):
    """Every file is found exactly once, and the numbers add up."""
    places = [path for path, _ in fates.places]
    assert len(places) == len(set(places)) == len(specimens()) == fates.n_listed
    manifest = fates.manifest
    assert manifest.n_total == len(manifest.clustered) + len(manifest.quarantine) + len(manifest.deferred)


def test_reasons_are_written_for_people(fates):
    """A reason is one line without a programmer's words; only a link's names places of this machine."""
    assert fates.reasons
    for path, reason in fates.reasons.items():
        assert "\n" not in reason
        assert not JARGON.search(reason), reason
        assert len(reason) > 10
        if "symbolic link" not in reason:
            assert str(fates.folder) not in reason, path


@pytest.mark.parametrize(
    "specimen",
    [specimen for specimen in specimens() if specimen.alike is not None],
    ids=lambda specimen: f"{specimen.kind}: {specimen.what}",
)
def test_every_format_shows_the_same_picture(fates, specimen):
    """The one picture saved in any format, depth, colour mode and orientation decodes to itself, or to its grey."""
    pixels = fates.pixels[specimen.path].astype(float)
    assert min(np.abs(pixels - picture).mean() for picture in (PICTURE, GREY)) <= specimen.alike


def test_table_in_the_documents(fates):
    """docs/inputs.md shows what became of each specimen, with the reason word for word."""
    rows = ["| kind | file | what becomes of it | reason |\n|---|---|---|---|\n"]
    for specimen in specimens():
        place, reason = fates.of(specimen)
        reason = reason.replace(str(fates.folder.parent / "elsewhere"), "ELSEWHERE").replace(str(fates.folder), "DATA")
        rows.append(f"| {specimen.kind} | {specimen.what} | {place} | {reason.replace('|', '/')} |\n")
    table = "".join(rows)
    text = DOCUMENT.read_text(encoding="utf-8")
    if os.environ.get("REWRITE_DOCS"):
        DOCUMENT.write_text(TABLE.sub(lambda _: table, text), encoding="utf-8")
        return
    (written,) = TABLE.findall(text)
    assert written == table, "REWRITE_DOCS=1 pytest tests/tasks/images/test_bad_files.py writes the table again"


def test_any_damage_is_refused_or_read():
    """Whatever bytes of a file are flipped, it gives a picture or is refused with a reason for people."""
    rng = np.random.default_rng(3)
    image = Image.fromarray(surface(9, "scratch"))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "camera"
    originals = [
        bad_files.encoded(image, "PNG", exif=exif),
        bad_files.encoded(image.convert("P"), "PNG", transparency=3),
        bad_files.encoded(image, "JPEG", exif=exif),
        bad_files.encoded(image, "BMP"),
        bad_files.encoded(image, "TIFF"),
        bad_files.encoded(image, "TIFF", compression="tiff_lzw"),
        bad_files.encoded(image.convert("1"), "TIFF", compression="group4"),
        bad_files.encoded(image, "WEBP"),
        bad_files.frames("PNG"),
    ]
    for data in originals:
        for trial in range(120):
            broken = bytearray(data)
            reach = len(broken) if trial % 2 else min(300, len(broken))  # half of them in the headers
            for at in rng.integers(0, reach, size=1 + trial % 5):
                broken[at] ^= int(rng.integers(1, 256))
            try:
                pixels = decode_image(bytes(broken), max_pixels=1_000_000)
            except UnreadableImageError as error:
                assert not JARGON.search(str(error)), str(error)
            else:
                assert (pixels.ndim, pixels.dtype) == (3, np.uint8)
