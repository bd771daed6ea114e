"""Results of stages that Prefect caches: what is in them, and whether they are what was written."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from tasks.stores.files import read_json, told_as_damage

SERIALIZER: Final = "anoclust-checked-json"

RECORD: Final = MappingProxyType(
    {
        "expiration": None,
        "serializer": {
            "type": SERIALIZER,
            "jsonlib": "json",
            "object_encoder": "prefect.serializers.prefect_json_object_encoder",
            "object_decoder": "prefect.serializers.prefect_json_object_decoder",
            "dumps_kwargs": {},
            "loads_kwargs": {},
        },
        "storage_block_id": None,
    }
)
"""What Prefect goes by when it reads a result; it has no checksum there, so anything else is damage."""

_VERSION: Final = re.compile(r"[0-9][0-9a-z.+]*")


def with_checksum(text: bytes) -> bytes:
    """A result behind its checksum: a handle with one digit changed must not be taken for a result."""
    return hashlib.sha256(text).hexdigest().encode() + b" " + text


def without_checksum(blob: bytes) -> bytes:
    """A result without the checksum before it, which `read_result` compares."""
    return blob.partition(b" ")[2]


def read_result(path: Path, name: str) -> Any:
    """Read what Prefect has kept of a stage.

    Parameters
    ----------
    path
        The file; Prefect writes it in place, so that a kill or a full disk cuts it off.
    name
        Its path in the folder of results.

    Returns
    -------
    handle
        JSON values, as the stage returned them.

    Raises
    ------
    FileNotFoundError, DamagedError
        As `tasks.stores.files.read_checked`.
    """
    with told_as_damage(path):
        record = read_json(path)
        if not isinstance(record, dict) or record.keys() != {"metadata", "result"}:
            raise ValueError("it is not a Prefect result")
        metadata, result = dict(record["metadata"]), str(record["result"])
        told = (str(metadata.pop("storage_key")), str(metadata.pop("prefect_version")))
        if metadata != RECORD or Path(told[0]).name != Path(name).name or not _VERSION.fullmatch(told[1]):
            raise ValueError("its metadata is not what was written")
        digest, _, text = result.partition(" ")
        if digest != hashlib.sha256(text.encode()).hexdigest():
            raise ValueError("its checksum does not match")
        return json.loads(text)
