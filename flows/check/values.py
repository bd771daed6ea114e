"""What a check finds, as JSON values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flows.check.found import CategoryCheck, DataCheck

if TYPE_CHECKING:
    from tasks.check.pictures import Seen


def as_json(found: DataCheck) -> dict[str, Any]:
    """Everything that was seen, as JSON values."""
    return {
        "categories": [_category_json(one) for one in found.categories],
        "forecast": {
            "seconds": found.total_seconds,
            "seconds_by_part": dict(found.seconds),
            "peak_memory_bytes": found.peak_bytes,
            "base_memory_bytes": found.base_bytes,
        },
    }


def _category_json(one: CategoryCheck) -> dict[str, Any]:
    seen = one.seen
    return {
        "category": one.category,
        "files": one.n_files,
        "looked_at": one.n_looked_at,
        "kinds": [
            {"role": role, "split": split, "label": label, "files": count}
            for (role, split, label), count in one.kinds.items()
        ],
        "labelled": one.n_labelled,
        "masks": one.n_masks,
        "unusable": [{"path": entry.path, "reason": entry.told} for entry in one.bad],
        "pictures": None if seen is None else _pictures_json(seen),
        "settings": [{"name": taken.name, "value": taken.value, "why": taken.why} for taken in one.settings],
        "notes": list(one.notes),
        "forecast": None
        if one.forecast is None
        else {
            "seconds_by_part": dict(one.forecast.seconds),
            "memory_bytes_by_stage": dict(one.forecast.memory),
            "left_out": one.forecast.why_not or None,
        },
        "error": str(one.error) if one.error else None,
        "exit_code": one.error.exit_code if one.error else 0,
    }


def _pictures_json(seen: Seen) -> dict[str, Any]:
    found = seen.alignment
    return {
        "decoded": seen.n_pictures,
        "smallest": list(seen.sizes[0]),
        "largest": list(seen.sizes[1]),
        "sizes": seen.n_sizes,
        "longest_side": seen.longest,
        "formats": dict(seen.formats),
        "depths": dict(seen.depths),
        "colours": dict(seen.colours),
        "with_alpha": seen.n_alpha,
        "turned_by_exif": seen.n_turned,
        "brightness": dict(zip(("darkest", "median", "brightest"), seen.brightness, strict=True)),
        "black_share": seen.black,
        "white_share": seen.white,
        "exact_copies": seen.n_copies,
        "near_duplicates": None if seen.near_duplicates is None else [list(paths) for paths in seen.near_duplicates],
        "compared_for_near_duplicates": 0 if seen.near_duplicates is None else seen.n_compared,
        "alignment": None
        if found is None
        else {
            "verdict": found.verdict,
            "agreement": found.as_they_lie,
            "agreement_shifted": found.shifted,
            "largest_shift_pixels": seen.shift,
        },
    }
