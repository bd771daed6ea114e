"""The demo data set: three surfaces with four types of drawn defects and their masks, in the layout of MVTec AD.

The surfaces are photographs that scikit-image installs with itself; nothing is downloaded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anoclust_core.errors import ConfigError, DatasetError
from anoclust_core.seeding import generator
from anoclust_core.synthesis import DEFECT_TYPES, draw_defect, draw_normal
from tasks.stores.files import new_folder, read_json, write_json, write_text

GENERATOR_VERSION: Final = 1
"""Raise it with every change that alters a byte of the demo."""

MARKER: Final = "demo.json"
"""The file that makes a folder a complete demo."""

TRAIN_GOOD: Final = 40
TEST_GOOD: Final = 16
TEST_PER_DEFECT: Final = 14
SIDE: Final = 256
"""Side of every picture, in pixels."""

CATEGORIES: Final = ("brick", "grass", "gravel")
"""Each is a packaged photograph of this name."""

_LAID_IN_ROWS: Final = frozenset({"brick"})
_PNG_EFFORT: Final = 1
"""zlib level: the default takes several times as long for files of the same size."""

_README: Final = """\
Anoclust demo data set
======================

Made by Anoclust. Layout of MVTec AD: <category>/train/good, <category>/test/<type> and
<category>/ground_truth/<type>/<name>_mask.png (255 = defect).

The surfaces are real: 256 x 256 crops of 512 x 512 grey photographs that are packaged with scikit-image
(skimage.data.brick, grass and gravel; see LICENSE.txt). Crops of one photograph overlap, in train and test too.
The defects (fibre, hole, scratch, stain) are drawn by a seeded generator and are not real.
Use it to try the program, not to compare methods.

demo.json holds the seed and the version of the generator; the same two give the same files.
"""

_LICENSE: Final = """\
The photographs are in the public domain under Creative Commons CC0 1.0
(https://creativecommons.org/publicdomain/zero/1.0/). Their sources, as scikit-image documents them:

brick   CC0Textures, Bricks25   https://cc0textures.com/view.php?tex=Bricks25
gravel  CC0Textures, Gravel04   https://cc0textures.com/view.php?tex=Gravel04
grass   DeviantArt, linolafett  https://www.deviantart.com/linolafett/art/Grass-01-434853879

The drawn defects and masks are dedicated to the public domain under the same terms.
"""


@dataclass(frozen=True)
class DemoSummary:
    """What a demo folder holds."""

    root: Path
    """Absolute path of the folder."""
    categories: tuple[str, ...]
    counts: Mapping[str, int]
    """Number of images, masks not counted, by ``<category>/<split>/<label>``."""


@dataclass(frozen=True)
class _Picture:
    """One image of the demo: its place, and so its content."""

    category: str
    split: str
    label: str
    number: int

    @property
    def group(self) -> str:
        return f"{self.category}/{self.split}/{self.label}"

    @property
    def image(self) -> str:
        return f"{self.group}/{self.number:03d}.png"

    @property
    def mask(self) -> str | None:
        return None if self.label == "good" else f"{self.category}/ground_truth/{self.label}/{self.number:03d}_mask.png"


def write_demo(out: Path, *, seed: int = 0, progress: Callable[[int, int], None] | None = None) -> DemoSummary:
    """Write the demo data set, all of it or nothing; a complete demo of the same seed is left as it is.

    Parameters
    ----------
    out
        Folder to make. It may exist if it is empty or holds this very demo.
    seed
        Seed >= 0. The same seed gives byte-identical files with the same versions of the packages underneath. Every
        picture has a generator of its own, seeded by its path.
    progress
        Called with the number of images written and the number of all images, after each image.

    Returns
    -------
    summary
        Where the demo is and what it holds.

    Raises
    ------
    ConfigError
        If ``seed`` is negative.
    DatasetError
        If ``out`` is a file, holds something else, or holds a demo that is damaged or was made otherwise; or if the
        installed scikit-image lacks a photograph.
    """
    if seed < 0:
        raise ConfigError(f"expected a seed of 0 or more, got {seed}; choose such a number")
    out = out.resolve()
    pictures = list(_pictures())
    summary = DemoSummary(root=out, categories=CATEGORIES, counts=Counter(picture.group for picture in pictures))
    if _is_this_demo(out, seed, pictures):
        return summary

    # The demo appears under its name in one step: a killed run leaves a hidden folder beside it, never half a demo.
    with new_folder(out) as unfinished:
        photographs = {category: _photograph(category) for category in CATEGORIES}
        for done, picture in enumerate(pictures, start=1):
            _write_picture(unfinished, picture, photographs[picture.category], seed)
            if progress is not None:
                progress(done, len(pictures))
        write_text(unfinished / "README.txt", _README)
        write_text(unfinished / "LICENSE.txt", _LICENSE)
        write_json(unfinished / MARKER, _marker(seed))
        if out.exists():
            out.rmdir()
    return summary


def _pictures() -> Iterator[_Picture]:
    """Every image of the demo, in the order of writing."""
    groups = [("train", "good", TRAIN_GOOD), ("test", "good", TEST_GOOD)]
    groups += [("test", defect, TEST_PER_DEFECT) for defect in DEFECT_TYPES]
    for category in CATEGORIES:
        for split, label, count in groups:
            for number in range(count):
                yield _Picture(category, split, label, number)


def _marker(seed: int) -> dict[str, int]:
    return {"generator_version": GENERATOR_VERSION, "seed": seed}


def _is_this_demo(out: Path, seed: int, pictures: list[_Picture]) -> bool:
    """Tell a complete demo of this seed (true) from a place for one (false); anything else is an error."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    found = _read_marker(out)
    if found is None:
        raise DatasetError(
            f"expected {out} to be absent, empty or an earlier demo, found other content and no readable {MARKER}; "
            "choose another folder"
        )
    if found != _marker(seed):
        raise DatasetError(
            f"expected a demo of {_marker(seed)} in {out}, found one of {found}; "
            "choose another folder, or remove this one to make it again"
        )
    expected = [name for picture in pictures for name in (picture.image, picture.mask) if name is not None]
    missing = [name for name in expected if not (out / name).is_file()]
    if missing:
        raise DatasetError(
            f"expected {len(expected)} images and masks in the demo {out}, {len(missing)} are missing "
            f"(the first is {missing[0]}); remove the folder to make it again"
        )
    return True


def _read_marker(out: Path) -> Any:
    """Give what the marker says, or ``None`` where there is no marker that can be read."""
    try:
        return read_json(out / MARKER)
    except (OSError, ValueError):
        return None


def _photograph(category: str) -> NDArray[np.uint8]:
    # Read as a packaged file: skimage.data.brick() and its kind go to the network when the file is missing.
    source = files("skimage.data") / f"{category}.png"
    if not source.is_file():
        raise DatasetError(
            f"expected the photograph {category}.png inside the installed scikit-image, found none; "
            "reinstall scikit-image from its wheel"
        )
    with source.open("rb") as stream, Image.open(stream) as image:
        return np.asarray(image.convert("L"))


def _write_picture(root: Path, picture: _Picture, photograph: NDArray[np.uint8], seed: int) -> None:
    """Draw one image, and its mask if it has one, from the seed and its path alone."""
    rng = generator(seed, picture.image)
    surface = draw_normal(photograph, rng, size=SIDE, quarter_turns=picture.category not in _LAID_IN_ROWS)
    if picture.mask is None:
        _save(root / picture.image, np.repeat(surface[..., None], 3, axis=2))
    else:
        image, mask = draw_defect(surface, rng, defect=picture.label)
        _save(root / picture.image, image)
        _save(root / picture.mask, mask.astype(np.uint8) * 255)


def _save(path: Path, image: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, compress_level=_PNG_EFFORT)
