"""What a night brings: images that the catalog does not know, and what it says of those that it does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, time, timedelta, tzinfo
from hashlib import sha256
from pathlib import Path
from typing import Final

from anoclust_core.config import NightConfig
from anoclust_core.matching.night_dates import night_begins, night_of
from anoclust_core.records import DatasetManifest, ImageRecord, SetAside
from tasks.stores.catalog.capture import Captured, CaptureRule, captured_at, parse_rules
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.catalog.facts import ImageFact
from tasks.stores.nights.capture_check import check_capture

_NO_BYTES: Final = "path:"
"""Begins the content of a file that could not be hashed."""


_LONGEST_KEY: Final = 600
"""Most characters of a path in the catalog's key; PostgreSQL's index takes 2,704 bytes."""


def content_of_path(path: str) -> str:
    """Content that a file without bytes has in the catalog: its path, or the digest of a long one."""
    return f"{_NO_BYTES}{path if len(path) <= _LONGEST_KEY else sha256(path.encode()).hexdigest()}"


@dataclass(frozen=True)
class NightRules:
    """How to tell which night an image belongs to.

    Attributes
    ----------
    rules
        Ways to tell when it was taken.
    timezone, day_starts
        When nights begin.
    """

    rules: tuple[CaptureRule, ...]
    timezone: tzinfo
    day_starts: time

    @classmethod
    def of(cls, config: NightConfig) -> NightRules:
        """Read the settings.

        Raises
        ------
        ConfigError
            If a way to tell the time of an image is none.
        """
        return cls(parse_rules(config.captured), config.zone, config.begins)

    def captured(self, image: ImageRecord) -> Captured:
        """When an image was taken, and the rule that says so."""
        return captured_at(
            image.path,
            Path(image.file),
            extra=image.extra,
            mtime_ns=image.mtime_ns,
            rules=self.rules,
            timezone=self.timezone,
            day_starts=self.day_starts,
        )

    def fact(
        self, image: ImageRecord, *, quarantined: str | None = None, captured: Captured | None = None
    ) -> ImageFact:
        """What the catalog keeps of an image; ``captured`` is what `captured` gives, where that is known already."""
        taken = (captured or self.captured(image)).at
        return ImageFact(
            content=image.sha256,
            path=image.path,
            captured_at=taken,
            night=night_of(taken, timezone=self.timezone, day_starts=self.day_starts),
            extra=dict(image.extra),
            quarantined=quarantined,
            file=image.file,
            split=image.split,
            label=image.label,
            mask=image.mask,
            part=image.part,
        )

    def fact_without_bytes(self, entry: SetAside, night: date) -> ImageFact:
        """What the catalog keeps of a file that could not be hashed; its path says when it was taken, or nothing."""
        begins = night_begins(night, timezone=self.timezone, day_starts=self.day_starts)
        taken = captured_at(
            entry.path,
            Path(entry.path),
            extra={},
            mtime_ns=int(begins.timestamp()) * 1_000_000_000,
            rules=[rule for rule in self.rules if rule.source in {"path", "file"}],
            timezone=self.timezone,
            day_starts=self.day_starts,
        ).at
        day = night_of(taken, timezone=self.timezone, day_starts=self.day_starts)
        return ImageFact(content_of_path(entry.path), entry.path, taken, day, quarantined=entry.told)


@dataclass(frozen=True)
class Tonight:
    """What is new in a category.

    Attributes
    ----------
    night
        The night.
    new
        Images that the catalog does not know, files that could not be used and were not known as such, and files that
        are left to the next night.
    normals
        Known normal images, as they are now.
    moved
        Images that are known and whose file, label or columns are others now.
    n_seen
        Files that were looked at, of this night and all before.
    n_later, first_later
        Files of later nights, which wait for those, and the first of these nights.
    told
        What a person must know of how it was told when images were taken; the notes of ``new`` have it too.
    """

    night: date
    new: DatasetManifest
    normals: tuple[ImageRecord, ...]
    moved: tuple[ImageFact, ...]
    n_seen: int
    n_later: int = 0
    first_later: date | None = None
    told: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing that the catalog should be told."""
        return not (self.new.images or self.new.quarantine)


def survey(
    listed: DatasetManifest,
    catalog: Catalog,
    *,
    night: date,
    only_until: bool,
    rules: NightRules,
    unreadable: Callable[[Iterable[ImageRecord]], Mapping[str, str]],
    misfits: Sequence[ImageRecord] = (),
) -> Tonight:
    """Compare the files of a category with the catalog: a content that it has is not new, whatever its name.

    Parameters
    ----------
    listed
        Every file of the category.
    catalog
        What is known.
    night
        The night.
    only_until
        Leave out what was taken later: it has not been seen yet.
    rules
        Which night an image belongs to.
    unreadable
        Gives the images whose files are as they were when they could not be decoded.
    misfits
        Images that are set aside because they do not have the size of their region: one that the catalog knows came
        before the region did, and is no newly bad file.

    Raises
    ------
    CaptureError
        If no image says when it was taken in the way that was asked for.
    """
    category = listed.category
    by_content: dict[str, list[ImageRecord]] = {}
    for image in listed.clustered:
        by_content.setdefault(image.sha256, []).append(image)
    lost = {content_of_path(entry.path): entry for entry in listed.quarantine}
    content_of = {image.path: image.sha256 for image in misfits}
    known = catalog.known_images(category, [*by_content, *lost, *content_of.values()])
    hopeless = unreadable(listed.images) if any(fact.quarantined for fact in known.values()) else {}
    told_by: list[tuple[str, CaptureRule]] = []
    new: list[ImageRecord] = []
    taken_up: list[date] = []
    moved: list[ImageFact] = []
    later: list[date] = []
    n_seen = 0
    for content, copies in by_content.items():
        fact = known.get(content)
        if fact is None:
            captured = rules.captured(copies[0])
            fact = rules.fact(copies[0], captured=captured)
            told_by.append((copies[0].path, captured.rule))
        if only_until and fact.night > night:
            later += [fact.night] * len(copies)
            continue
        n_seen += len(copies)
        if content not in known or (fact.quarantined is not None and content not in hopeless):
            new.append(copies[0])
            taken_up.append(fact.night)
        elif (now := _told_again(fact, copies)) != fact:
            moved.append(now)
    told = check_capture(
        category,
        told_by,
        rules.rules,
        known=(rules.captured(copies[0]).rule for content, copies in by_content.items() if content in known),
    )
    if ahead := [one for one in taken_up if one > night]:
        told.append(
            f"{len(ahead):,} new image{' is' if len(ahead) == 1 else 's are'} dated after tonight, the first "
            f"{min(ahead)}; check the clock of the camera, --captured and --timezone."
        )
    before = night - timedelta(days=1)
    if not only_until and set(taken_up) == {before} and not catalog.images(category, since=before, until=before):
        told.append(
            f"All new images are of the night before, {before}; does the command run after night.day_starts "
            f"({rules.day_starts:%H:%M})?"
        )
    bad = []
    for content, entry in lost.items():
        of_misfit = known.get(content_of.get(entry.path, ""))
        fact = of_misfit or known.get(content) or rules.fact_without_bytes(entry, night)
        if only_until and fact.night > night:
            later.append(fact.night)
            continue
        n_seen += 1
        if content not in known and of_misfit is None:
            bad.append(entry)
    manifest = DatasetManifest(
        category,
        tuple(sorted(new, key=lambda image: image.path)),
        quarantine=tuple(bad),
        notes=(*listed.notes, *told),
        deferred=listed.deferred,
    )
    return Tonight(
        night,
        manifest,
        listed.normals,
        tuple(moved),
        n_seen + len(listed.deferred),
        n_later=len(later),
        first_later=min(later, default=None),
        told=tuple(told),
    )


def _told_again(fact: ImageFact, copies: Sequence[ImageRecord]) -> ImageFact:
    """What the catalog should say of an image that it knows: of several copies, about the one that it knows."""
    copy = next((copy for copy in copies if copy.path == fact.path), copies[0])
    return replace(
        fact,
        path=copy.path,
        file=copy.file,
        extra=dict(copy.extra),
        split=copy.split,
        label=copy.label,
        mask=copy.mask,
        part=copy.part,
    )


def everything(catalog: Catalog, category: str, *, until: date, normals: Sequence[ImageRecord]) -> DatasetManifest:
    """Every usable image that the catalog has up to a night, and the known normals: what a clustering is made of.

    Files may be gone: their embeddings are in the store.
    """
    images = [record(fact, "cluster") for fact in catalog.images(category, until=until) if fact.quarantined is None]
    return DatasetManifest(
        category, tuple(sorted((*images, *normals), key=lambda image: image.path)), n_normals_given=len(normals)
    )


def record(fact: ImageFact, role: str) -> ImageRecord:
    """Image as a run takes it."""
    return ImageRecord(
        path=fact.path,
        file=fact.file or fact.path,
        sha256=fact.content,
        role="normal" if role == "normal" else "cluster",
        split=fact.split,
        label=fact.label,
        mask=fact.mask,
        extra=dict(fact.extra),
        part=fact.part,
    )
