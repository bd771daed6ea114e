"""What is looked at of a category's pictures: found in settings, manifests and folders, checked, and kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from anoclust_core.config import RunConfig
from anoclust_core.errors import ConfigError, DatasetError
from anoclust_core.records import REGION_COLUMN, DatasetManifest, EmbeddingSpec, ImageRecord
from tasks.images.headers import geometry_of
from tasks.images.regions import RegionFile, read_region_file, region_beside
from tasks.stores.addresses import with_home
from tasks.stores.layout import StoreLayout
from tasks.stores.regions import keep_region, region_mask

AUTO: Final = "auto"
NONE: Final = "none"


def with_regions(
    layout: StoreLayout, data: Path, listed: DatasetManifest, spec: EmbeddingSpec, config: RunConfig
) -> tuple[DatasetManifest, EmbeddingSpec]:
    """Images and spec that name what is looked at; as they were where that is everything.

    A region of the category goes to the spec. Images that a manifest gives a region, or a file with polygons of several
    pictures, have it of their own. The masks are kept in the store.

    Parameters
    ----------
    layout
        The store.
    data
        Folder or manifest that was listed.
    listed
        Images of a category.
    spec
        Spec of its embeddings.
    config
        Its settings.

    Returns
    -------
    images, spec
        Images that do not have the size of their region are set aside.

    Raises
    ------
    ConfigError
        If the recipe, or the distance, looks at whole pictures.
    DatasetError
        If a region cannot be read, has no polygon for an image, or has the size of no image; or if copies of a file
        have two.
    """
    file = _of_category(data, listed.category, config)
    has_own = config.data.roi != NONE and any(REGION_COLUMN in image.extra for image in listed.images)
    if file is None and not has_own:
        return replace(listed, images=tuple(_with_column(image, None) for image in listed.images)), spec
    _check(config)
    files = _Files(layout)
    whole = files.digest(file, "") if file and files.is_of_all(file) else None
    images, wrong, of_contents = [], {}, dict[str, str | None]()
    for image in listed.images:
        source = Path(image.extra[REGION_COLUMN]) if image.extra.get(REGION_COLUMN) else file
        digest = files.digest(source, image.path) if source else None
        if of_contents.setdefault(image.sha256, digest) != digest:
            raise DatasetError(f"{image.path} and a copy of it have two regions; give both the same, or leave one out")
        images.append(_with_column(image, digest if digest != whole else None))
        if source and digest and (why := _misfit(image, source, files.shapes[digest])):
            wrong[image.sha256] = why
    found = replace(listed, images=tuple(images))
    if images and len(wrong) == len({image.sha256 for image in images}):
        raise DatasetError(
            f"no image of {listed.category} has the size of its region: {images[0].path} {wrong[images[0].sha256]}; "
            "draw the region on one of the pictures"
        )
    return found.without(wrong), replace(spec, region=whole)


def without_misfits(
    layout: StoreLayout, images: DatasetManifest, spec: EmbeddingSpec
) -> tuple[DatasetManifest, str | None]:
    """Images without those that do not have the size of their region, and what is to be told of these.

    Images that are known from before there was the region; of a file that is gone nobody can say.
    """
    shapes: dict[str, tuple[int, int]] = {}
    wrong: dict[str, str] = {}
    for image in images.images:
        digest = image.region or spec.region
        if digest is None:
            continue
        if digest not in shapes:
            mask = region_mask(layout, digest)
            assert mask is not None  # noqa: S101 - for the type checker: there is a digest
            shapes[digest] = mask.shape[0], mask.shape[1]
        if why := _misfit(image, "", shapes[digest]):
            wrong[image.sha256] = f"{image.path} {why}"
    if not wrong:
        return images, None
    kept = tuple(image for image in images.images if image.sha256 not in wrong)
    n_normals = sum(image.role == "normal" for image in kept)
    told = (
        f"{len(wrong):,} known image{' does' if len(wrong) == 1 else 's do'} not have the size of the region and "
        f"{'was' if len(wrong) == 1 else 'were'} not clustered again, but keep"
        f"{'s its' if len(wrong) == 1 else ' their'} cluster: {next(iter(wrong.values()))}"
    )
    return replace(images, images=kept, n_normals_given=n_normals), told


def _of_category(data: Path, category: str, config: RunConfig) -> Path | None:
    """File with the region of a category."""
    if config.data.roi == NONE:
        return None
    return region_beside(data, category) if config.data.roi == AUTO else with_home(config.data.roi)


def _with_column(image: ImageRecord, digest: str | None) -> ImageRecord:
    """Image that names its own region, or none."""
    if digest is None and REGION_COLUMN not in image.extra:
        return image
    extra = {name: value for name, value in image.extra.items() if name != REGION_COLUMN}
    return replace(image, extra={**extra, REGION_COLUMN: digest} if digest else extra)


def _check(config: RunConfig) -> None:
    """Refuse what looks at whole pictures."""
    if config.recipe == "blind":
        raise ConfigError(
            "recipe blind makes its maps from whole pictures and knows no region; use another recipe, or give --roi "
            "none"
        )
    if config.group.distance != "weighted_average":
        raise ConfigError(
            f"--distance {config.group.distance} is made of all patches of all images and knows no region; omit "
            "--distance, or give --roi none"
        )


class _Files:
    """Reads files of regions, each once, and keeps their masks in the store; ``shapes`` are theirs by digest."""

    def __init__(self, layout: StoreLayout) -> None:
        self._layout = layout
        self._of_many: dict[Path, RegionFile] = {}
        self._of_all: dict[Path, str] = {}
        self.shapes: dict[str, tuple[int, int]] = {}

    def is_of_all(self, path: Path) -> bool:
        """Whether a file has one region for all pictures."""
        if path not in self._of_all and path not in self._of_many:
            read = read_region_file(path)
            if read.mask is None:
                self._of_many[path] = read
            else:
                self._of_all[path] = self._keep(read, "")  # its mask is forgotten: there may be a file for each image
        return path in self._of_all

    def digest(self, path: Path, image: str) -> str:
        """Digest of the region of an image, by its path, in a file."""
        return self._of_all[path] if self.is_of_all(path) else self._keep(self._of_many[path], image)

    def _keep(self, read: RegionFile, image: str) -> str:
        mask = read.mask_of(image)
        digest = keep_region(self._layout, mask)
        self.shapes[digest] = mask.shape[0], mask.shape[1]
        return digest


def _misfit(image: ImageRecord, source: Path | str, shape: tuple[int, int]) -> str | None:
    """Say that an image does not have the size of its region; of a file that is gone nobody can say."""
    geometry = geometry_of(Path(image.file))
    if geometry is None or geometry.upright == shape:
        return None
    (height, width), (rows, columns) = geometry.upright, shape
    turned = ", turned by its EXIF orientation," if geometry.upright != geometry.shape else ""
    region = f"its region {source}" if source else "its region"
    return f"is {width} x {height} pixels{turned} and {region} is {columns} x {rows} pixels"
