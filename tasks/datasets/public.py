"""Manifests of public data sets: which image is what, read from the layout that each set is published in.

A manifest is a table with one image a row; nothing is copied. Its columns are `COLUMNS`, then what else a set knows.
Paths and masks are absolute; text that is not known is empty.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Final

import pandas as pd

from anoclust_core.errors import DatasetError
from anoclust_core.records import GOOD
from tasks.images.decoding import IMAGE_SUFFIXES, REFUSED_SUFFIXES
from tasks.images.manifests.texts import read_given_text
from tasks.stores.addresses import on_this_machine
from tasks.stores.files import write_text
from tasks.stores.written_tables import csv_of_frame

COLUMNS: Final = ("path", "category", "split", "label", "mask")
"""In every manifest: image, product, ``train`` or ``test``, type (``good`` if free of defects), mask image."""

MAX_SEVERITY: Final = 4
STRESSES: Final = ("miner", "rust", "phoma", "cercospora")
"""What attacks the coffee leaves; a column each in their table, 1 where present."""

_MTD_FREE: Final = "MT_Free"
_SPLITS: Final = ("train", "test")


@dataclass(frozen=True)
class PublicManifest:
    """The images of a public data set, and how many were left out for which reason."""

    frame: pd.DataFrame
    """One row per image, sorted by path, with a fresh index; `COLUMNS` first."""
    left_out: dict[str, int]
    """Number of files or table rows by reason; empty if everything was taken."""


def mtd_manifest(source: Path, *, train_list: Path | None) -> PublicManifest:
    """List the Magnetic Tile Defect set: ``MT_<Type>/Imgs/<name>.jpg``, with the mask ``<name>.png`` beside it.

    Parameters
    ----------
    source
        The folder that holds the ``MT_*`` folders.
    train_list
        Text file with the names of the training images, one per line, all of them from ``MT_Free``. Without it every
        image is a test image.

    Returns
    -------
    manifest
        Category ``magnetic_tile``; the label is the type in lower case, ``good`` for ``MT_Free``.

    Raises
    ------
    DatasetError
        If ``source`` has no such folder or no image, or if the list cannot be read or names other images.
    """
    source = _existing_folder(source, "the folder with MT_Free, MT_Blowhole, ...")
    folders = sorted(folder for folder in source.glob("MT_*") if (folder / "Imgs").is_dir())
    if not folders:
        raise DatasetError(
            f"expected folders MT_<Type>/Imgs in {source}, found none; give the folder that holds MT_Free"
        )
    left_out: Counter[str] = Counter()
    rows = []
    for folder in folders:
        label = GOOD if folder.name == _MTD_FREE else folder.name.removeprefix("MT_").lower()
        files = _files(folder / "Imgs")
        # In this set a PNG is always a mask.
        images = [file for file in files if _is_image(file) and file.suffix.lower() != ".png"]
        masks = {file.stem: file for file in files if file.suffix.lower() == ".png"}
        left_out["mask without an image"] += len(masks.keys() - {image.stem for image in images})
        left_out["not an image"] += sum(not _is_image(file) for file in files)
        for image in images:
            mask = masks.get(image.stem) if label != GOOD else None
            rows.append((image, "magnetic_tile", "test", label, mask))
    frame = _frame(rows, source)
    if train_list is not None:
        names = _listed_names(train_list)
        is_free = frame["label"] == GOOD
        own_names = frame["path"].map(lambda path: Path(path).name)
        unknown = sorted(names - set(own_names[is_free]))
        if unknown:
            raise DatasetError(
                f"expected every name in {train_list} to be an image in {source / _MTD_FREE}, found {len(unknown)} of "
                f"{len(names)} that are not: {_first_few(unknown)}; use the list that belongs to this copy of the set"
            )
        frame.loc[is_free & own_names.isin(names), "split"] = "train"
    return PublicManifest(frame=frame, left_out=_counted(left_out))


def leaves_manifest(source: Path) -> PublicManifest:
    """List the coffee leaves (biotic stress): ``leaf/<id>.jpg`` and a table ``dataset.csv`` with a row per id.

    Leaves with two or more stresses have no single type and are left out, as are images without a row.

    Parameters
    ----------
    source
        The folder that holds ``leaf`` and ``dataset.csv``.

    Returns
    -------
    manifest
        Category ``coffee_leaves``, all of split ``test``, without masks; the label is the stress or ``good``. Further
        columns: ``severity`` (0 healthy to 4) and one column of 0 or 1 for each of `STRESSES`.

    Raises
    ------
    DatasetError
        If folder or table are missing, or the table lacks a column, repeats an id, or holds a value out of range.
    """
    source = _existing_folder(source, "the folder with leaf/ and dataset.csv")
    files = _files(_existing_folder(source / "leaf", "the folder of the leaf images"))
    table = _leaf_table(source / "dataset.csv")
    images = pd.DataFrame({"path": [file for file in files if _is_image(file)]})
    images["id"] = images["path"].map(lambda path: path.stem)
    leaves = images.merge(table, on="id", how="outer", indicator=True)
    known = leaves[leaves["_merge"] == "both"]
    stresses = known[list(STRESSES)].astype(int)
    several = stresses.sum(axis="columns") > 1
    left_out = {
        "not an image": len(files) - len(images),
        "image without a row": int((leaves["_merge"] == "left_only").sum()),
        "row without an image": int((leaves["_merge"] == "right_only").sum()),
        "two or more stresses": int(several.sum()),
    }
    known, stresses = known[~several], stresses[~several]
    labels = stresses.idxmax(axis="columns").where(stresses.any(axis="columns"), GOOD)
    rows = [(path, "coffee_leaves", "test", label, None) for path, label in zip(known["path"], labels, strict=True)]
    extra = stresses.assign(severity=known["severity"].astype(int))[["severity", *STRESSES]]
    return PublicManifest(frame=_frame(rows, source, extra=extra), left_out=_counted(left_out))


def xsdd_manifest(source: Path) -> PublicManifest:
    """List X-SDD, defects of hot-rolled steel strip: ``<type>/<name>.jpg``. Its folders are types, not products.

    Parameters
    ----------
    source
        The folder that holds a folder for each type.

    Returns
    -------
    manifest
        Category ``steel_strip``, all of split ``test``, without masks and without good images; the label is the
        folder's name.

    Raises
    ------
    DatasetError
        If ``source`` has no folder with images.
    """
    source = _existing_folder(source, "the folder with a folder for each type of defect")
    rows, left_out = [], 0
    for folder in sorted(folder for folder in source.iterdir() if folder.is_dir()):
        files = _files(folder)
        images = [file for file in files if _is_image(file)]
        left_out += len(files) - len(images)
        rows += [(image, "steel_strip", "test", folder.name, None) for image in images]
    return PublicManifest(frame=_frame(rows, source), left_out=_counted({"not an image": left_out}))


def first_of_each_label(manifest: PublicManifest, n_images: int) -> PublicManifest:
    """Take the first images of every label by path, so that no type outweighs the others; training images stay.

    Parameters
    ----------
    manifest
        Of any public set.
    n_images
        Test images of a category and label to keep at most, at least 1.
    """
    frame = manifest.frame
    place = frame.groupby(["category", "split", "label"]).cumcount()
    kept = (place < n_images) | (frame["split"] != "test")
    left_out = manifest.left_out | _counted({f"more than {n_images} of a label": int((~kept).sum())})
    return PublicManifest(frame=frame[kept].reset_index(drop=True), left_out=left_out)


def mvtec_manifest(source: Path) -> PublicManifest:
    """List a set in the layout of MVTec AD: ``<category>/{train,test}/<label>/`` and ``ground_truth/<label>/``.

    Parameters
    ----------
    source
        The folder of one category, or the folder that holds the categories.

    Returns
    -------
    manifest
        The category is the name of its folder. The mask of ``test/<label>/<name>.png`` is
        ``ground_truth/<label>/<name>_mask.png``; a defect without this file has an empty mask.

    Raises
    ------
    DatasetError
        If ``source`` is neither such folder or holds no image.
    """
    source = _existing_folder(source, "a folder in the layout of MVTec AD")
    left_out: Counter[str] = Counter()
    if _is_category(source):
        categories = [source]
    else:
        folders = sorted(entry for entry in source.iterdir() if entry.is_dir())
        categories = [folder for folder in folders if _is_category(folder) and not folder.name.startswith(".")]
        left_out["folder that is not a category"] = len(folders) - len(categories)
    if not categories:
        raise DatasetError(
            f"expected the layout of MVTec AD (<category>/train/good and <category>/test/<type>), found no train "
            f"or test folder in {source} nor one level below; give the folder of a category or the one that holds them"
        )
    rows = []
    for category in categories:
        masks = {
            mask.relative_to(category).with_suffix(""): mask
            for mask in _files(category / "ground_truth")
            if _is_image(mask)
        }
        for split in _SPLITS:
            for file in _files(category / split):
                folders_between = file.relative_to(category / split).parts[:-1]
                if not _is_image(file):
                    left_out["not an image"] += 1
                elif len(folders_between) != 1:
                    left_out["image outside a folder of its type"] += 1
                else:
                    label = folders_between[0]
                    mask = masks.get(Path("ground_truth", label, f"{file.stem}_mask")) if label != GOOD else None
                    rows.append((file, category.name, split, label, mask))
    return PublicManifest(frame=_frame(rows, source), left_out=_counted(left_out))


def write_manifest(frame: pd.DataFrame, out: Path) -> Path:
    """Write a manifest as CSV (UTF-8, a header line), whole or not at all; an earlier file of this name is replaced.

    Cells that a spreadsheet would run get an apostrophe in front, which reading the manifest takes away.

    Parameters
    ----------
    frame
        At least the columns `COLUMNS`; paths and masks absolute, or empty for an unknown mask.
    out
        The file. Missing parent folders are made.

    Returns
    -------
    written
        Absolute path of the file.

    Raises
    ------
    DatasetError
        If a column is missing or a path is not absolute.
    """
    missing = [column for column in COLUMNS if column not in frame.columns]
    if missing:
        raise DatasetError(
            f"expected the columns {', '.join(COLUMNS)}, found none named {', '.join(missing)}; add them"
        )
    paths = [*frame["path"], *(mask for mask in frame["mask"] if mask)]
    relative = [path for path in paths if not Path(path).is_absolute()]
    if relative:
        raise DatasetError(
            f"expected absolute paths, found {len(relative)} others: {_first_few(relative)}; make them absolute"
        )
    out = out.absolute()
    write_text(out, csv_of_frame(frame))
    return out


def _existing_folder(folder: Path, wanted: str) -> Path:
    folder = on_this_machine(folder, "SOURCE").resolve()
    if not folder.is_dir():
        found = "a file" if folder.is_file() else "nothing"
        raise DatasetError(f"expected {wanted} at {folder}, found {found}; check the path")
    return folder


def _files(folder: Path) -> list[Path]:
    """List every file below a folder; of a folder that does not exist, none."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in IMAGE_SUFFIXES


def _is_category(folder: Path) -> bool:
    return any((folder / split).is_dir() for split in _SPLITS)


def _listed_names(train_list: Path) -> set[str]:
    try:
        lines = read_given_text(on_this_machine(train_list, "--train-list")).lines
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"expected a text file with one image name per line at {train_list}, found none that can be read "
            f"({error}); check the path"
        ) from error
    return {name for line in lines if (name := PureWindowsPath(line.strip()).name)}


def _leaf_table(file: Path) -> pd.DataFrame:
    """Read and check the table of the leaves."""
    needed = ["id", *STRESSES, "severity"]
    try:
        table = pd.read_csv(file, dtype={"id": str})
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"expected a CSV table at {file}, found none that can be read ({error}); download it again"
        ) from error
    missing = [column for column in needed if column not in table.columns]
    if missing:
        raise DatasetError(
            f"expected the columns {', '.join(needed)} in {file}, found no {', '.join(missing)}; download it again"
        )
    repeated = table["id"][table["id"].duplicated()].astype(str).tolist()
    if repeated:
        raise DatasetError(
            f"expected one row per id in {file}, found more for {_first_few(repeated)}; remove the extra rows"
        )
    fits = table[list(STRESSES)].isin([0, 1]).all(axis="columns") & table["severity"].isin(range(MAX_SEVERITY + 1))
    if not fits.all():
        raise DatasetError(
            f"expected 0 or 1 for every stress and a severity from 0 to {MAX_SEVERITY} in {file}, "
            f"found other values for id {_first_few(table['id'][~fits].astype(str).tolist())}; correct them"
        )
    return table[needed]


def _frame(
    rows: Iterable[tuple[Path, str, str, str, Path | None]], source: Path, *, extra: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Make the table of a manifest; ``extra`` has a row for each of ``rows``."""
    texts = [[str(cell or "") for cell in row] for row in rows]
    if not texts:
        suffixes = ", ".join(sorted(IMAGE_SUFFIXES - REFUSED_SUFFIXES))
        raise DatasetError(f"expected images ({suffixes}) in {source}, found none; check the path")
    frame = pd.DataFrame(texts, columns=list(COLUMNS), dtype=str)
    if extra is not None:
        frame = pd.concat([frame, extra.reset_index(drop=True)], axis="columns")
    return frame.sort_values("path", ignore_index=True)


def _counted(left_out: dict[str, int]) -> dict[str, int]:
    return {reason: count for reason, count in left_out.items() if count}


def _first_few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
