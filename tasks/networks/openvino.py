"""Networks converted for OpenVINO, kept in the store: converting takes seconds, once for every backbone.

Beside each lies what torch made of one random image, with which its features are compared whenever it is taken up: on
this machine, by this OpenVINO, and without building torch's network again. A third file has the checksums of both: one
bit of a weight may be too little for that comparison to notice, and changes every embedding all the same.
"""

from __future__ import annotations

import hashlib
import io
import zlib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch

from anoclust_core.embedding.backbones import (
    FeatureExtractor,
    NetworkSize,
    fold_batch_norms,
    network_size,
    random_image,
)
from anoclust_core.embedding.openvino import ConversionError, ConvertedExtractor, convert
from anoclust_core.errors import DamagedError
from anoclust_core.keys import content_key
from anoclust_core.records import EmbeddingSpec
from tasks.compute.dask_jobs import CORES
from tasks.stores.files import FILES, read_checked, remove_file, with_digest, write_bytes, write_json
from tasks.stores.layout import StoreLayout
from tasks.stores.upkeep.inventory import CHECKSUMS

_DAMAGES = (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error, DamagedError)
"""What NumPy raises on a file that is missing, cut off or something else, and a checksum that does not match."""


@dataclass(frozen=True)
class ConvertedNetwork:
    """A converted network whose features were compared with torch's, and what it takes in memory."""

    extractor: ConvertedExtractor
    size: NetworkSize


def network_file(store: StoreLayout, spec: EmbeddingSpec) -> Path:
    """Where the converted network of a spec is kept, or would be; other versions of its makers have another one."""
    made_by = {name: version(name) for name in ("torch", "timm")}
    return store.network(content_key("network", {"spec": spec.network_identity, **made_by}))


def features_file(network: Path) -> Path:
    """Where the features lie that torch gave: NumPy's ``npz``."""
    return network.with_suffix(".npz")


def checksums_file(network: Path) -> Path:
    """Where the checksums of both lie: JSON. Networks of versions before there were any have none."""
    return network.with_suffix(CHECKSUMS)


def kept_network(file: Path, spec: EmbeddingSpec) -> ConvertedNetwork | None:
    """The network of a file; None where there is none that gives torch's features."""
    try:
        model, features = file.read_bytes(), features_file(file).read_bytes()
        if _checksums(file) not in (None, _digests(file, model, features)):
            return None
        with np.load(io.BytesIO(features)) as kept:
            expected = torch.from_numpy(kept["features"])
            size = NetworkSize(int(kept["weight_bytes"]), int(kept["activation_bytes"]))
        extractor = ConvertedExtractor(model, threads=CORES, precision=spec.precision)
        extractor.check(expected, spec.image_size)
    except (ConversionError, *_DAMAGES):
        return None
    return ConvertedNetwork(extractor, size)


def converted(file: Path, built: FeatureExtractor, spec: EmbeddingSpec) -> ConvertedNetwork:
    """Convert an extractor, compare the features, and keep what came out in a file.

    Raises
    ------
    ConversionError
        If OpenVINO cannot compute it, or not to the same features.
    """
    with torch.inference_mode():
        expected = built(random_image(spec.image_size))
    model = convert(fold_batch_norms(built, spec.image_size), spec.image_size)
    extractor = ConvertedExtractor(model, threads=CORES, precision=spec.precision)
    extractor.check(expected, spec.image_size)
    size = network_size(built, spec.image_size)
    beside = io.BytesIO()
    np.savez(beside, features=expected.numpy(), weight_bytes=size.weight_bytes, activation_bytes=size.activation_bytes)
    remove_file(checksums_file(file))  # killed before the last line, two whole files without checksums stay
    write_bytes(features_file(file), beside.getvalue())
    write_bytes(file, model)
    write_json(checksums_file(file), with_digest({FILES: _digests(file, model, beside.getvalue())}))
    return ConvertedNetwork(extractor, size)


def _digests(file: Path, model: bytes, features: bytes) -> dict[str, str]:
    """What stands in the file of checksums."""
    found = {file.name: model, features_file(file).name: features}
    return {name: hashlib.sha256(content).hexdigest() for name, content in found.items()}


def _checksums(file: Path) -> object:
    """What was written of a network's files; None where nothing was."""
    try:
        return read_checked(checksums_file(file)).get(FILES, {})
    except FileNotFoundError:
        return None
