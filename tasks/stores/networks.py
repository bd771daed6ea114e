"""Networks converted for OpenVINO, kept in the store: converting takes seconds, once for every backbone."""

from __future__ import annotations

from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from anoclust_core.backbones import FeatureExtractor, fold_batch_norms
from anoclust_core.conversion import ConversionError, ConvertedExtractor, convert
from anoclust_core.keys import content_key
from anoclust_core.records import EmbeddingSpec, Precision
from tasks.stores.engine import CORES
from tasks.stores.files import write_bytes
from tasks.stores.layout import StoreLayout


def network_file(store: StoreLayout, spec: EmbeddingSpec) -> Path:
    """Where the converted network of a spec is kept, or would be; other versions of its makers have another one."""
    made_by = {name: version(name) for name in ("torch", "timm")}
    return store.network(content_key("network", {"spec": spec.identity, **made_by}))


def kept_network(file: Path, precision: Precision) -> ConvertedExtractor | None:
    """The network of a file, compared with nothing yet; None where there is none that OpenVINO takes."""
    with suppress(FileNotFoundError, ConversionError):
        return ConvertedExtractor(file.read_bytes(), threads=CORES, precision=precision)
    return None


def converted(
    file: Path,
    extractor: FeatureExtractor,
    image_size: int,
    *,
    precision: Precision = "float32",
    kept: ConvertedExtractor | None = None,
) -> ConvertedExtractor:
    """Converted form of an extractor, ``kept`` or, where that is missing or another one, made anew and written.

    Either way its features were compared with the extractor's, which is on the CPU.

    Raises
    ------
    ConversionError
        If OpenVINO cannot compute it, or not to the same features.
    """
    if kept is not None:
        with suppress(ConversionError):
            return kept.checked(extractor, image_size)
    model = convert(fold_batch_norms(extractor, image_size), image_size)
    network = ConvertedExtractor(model, threads=CORES, precision=precision).checked(extractor, image_size)
    write_bytes(file, model)
    return network
