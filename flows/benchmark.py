"""The benchmark: data sets x methods under a named protocol, laid beside the published numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from anoclust_core.config import RunConfig
from anoclust_core.errors import ConfigError, DatasetError
from anoclust_core.keys import content_key
from anoclust_core.protocols import Protocol, protocol_named
from anoclust_core.records import DatasetManifest, EmbeddingSpec
from anoclust_core.versions import ALGORITHM_VERSIONS
from flows.orchestrator import with_prefect
from tasks import telemetry
from tasks.stores.cards import embedding_spec, last_layer_spec
from tasks.stores.layout import StoreLayout
from tasks.stores.listing import check_enough, list_datasets
from tasks.stores.locks import category_lock
from tasks.stores.manifests import save_manifest
from tasks.stores.recovery import sweep

EXPERIMENT_OF_TABLE: Final = MappingProxyType(
    {
        "1": "distances",
        "2": "clusterings",
        "3": "purity",
        "4": "holistic",
        "5": "variants",
        "7": "distances",
        "8": "clusterings",
        "9": "baselines",
        "10": "clustering_subsets",
    }
)
"""Tables of [SOHN23] and what they show; Table 6 lists layers and needs no experiment."""

EXPERIMENT_OF_FIGURE: Final = MappingProxyType(
    {
        "3": "overlays",
        "4": "purity",
        "5": "sheets",
        "6": "temperatures",
        "7": "top_patches",
        "8": "shares_of_normals",
        "9": "holistic",
        "10": "distances",
        "11": "distances",
        "13": "purity",
    }
)
"""Figures of [SOHN23] and what they show."""

PICTURED: Final = frozenset({"overlays", "sheets"})
"""Figures that are made of pictures instead of scores."""

BACKBONE_FIGURES: Final = frozenset({"9", "10", "11"})
"""Figures that compare backbones."""

METHOD_NAMES: Final = (
    "average", "max-hausdorff", "weighted", "normals", "masks", "max", "gem", "spoc", "bag-of-words", "holistic",
)  # fmt: skip
"""Methods that can be chosen, without importing what computes them; a test holds them to the experiments'."""

DEFAULT_TABLES: Final = ("1", "2", "3", "5", "9")


@dataclass(frozen=True)
class BenchmarkRequest:
    """What the benchmark is asked to show.

    Attributes
    ----------
    protocol
        Name of the evaluation protocol.
    tables, figures
        Numbers as in the paper.
    n_subsets
        Random 90 % subsets for error bars.
    backbones
        Those that Figures 9 to 11 compare, besides the one of the tables.
    methods
        Short names of the methods that are compared; all where empty.
    """

    protocol: str
    tables: tuple[str, ...]
    figures: tuple[str, ...]
    n_subsets: int
    backbones: tuple[str, ...]
    methods: tuple[str, ...] = ()

    @property
    def experiments(self) -> list[str]:
        """Experiments that the tables need on the main backbone; the temperatures come first, others depend on them."""
        wanted = [EXPERIMENT_OF_TABLE[table] for table in self.tables]
        wanted += [EXPERIMENT_OF_FIGURE[figure] for figure in self.figures]
        return list(dict.fromkeys(["temperatures", *(name for name in wanted if name not in PICTURED)]))


@dataclass(frozen=True)
class BackboneJob:
    """One backbone of a benchmark.

    Attributes
    ----------
    config, spec
        What is asked for, and what it resolves to.
    last
        The same backbone with its last layer, where Table 4 or Figure 9 is asked for.
    experiments
        To run on it.
    """

    config: RunConfig
    spec: EmbeddingSpec
    last: EmbeddingSpec | None
    experiments: tuple[str, ...]


def check_request(request: BenchmarkRequest) -> None:
    """Refuse unknown tables, figures and protocols.

    Raises
    ------
    ConfigError
        If there is no such table, figure or protocol.
    """
    protocol_named(request.protocol)
    for kind, asked, known in (
        ("--table", request.tables, EXPERIMENT_OF_TABLE),
        ("--figure", request.figures, EXPERIMENT_OF_FIGURE),
        ("--methods", request.methods, METHOD_NAMES),
    ):
        for number in asked:
            if number not in known:
                raise ConfigError(f"{kind} takes one of {', '.join(known)}; found {number!r}")
    if request.n_subsets < 2:
        raise ConfigError(f"--subsets takes a number from 2, for a standard error; found {request.n_subsets}")


def run_benchmark(
    data: Sequence[Path],
    store: Path,
    config: RunConfig,
    request: BenchmarkRequest,
    out: Path,
    *,
    listener: Callable[[str, str, int, int], None] | None = None,
    debug: bool = False,
) -> Path:
    """Measure every category of some data sets and write tables and figures.

    Everything is cached by key: after a stop the same command goes on, another table computes only what is new.

    Parameters
    ----------
    data
        Folders or manifests; every image needs a label.
    store
        Where embeddings, distances and results are kept.
    config
        Backbone and data settings.
    request
        What to show.
    out
        Folder for ``benchmark.md``, CSV and PNG files.
    listener
        Hears of progress: category, stage, done, total.
    debug
        Let Prefect write its log to the console.

    Returns
    -------
    page
        ``benchmark.md``.

    Raises
    ------
    AnoclustError
        If the data, the settings or the memory do not allow it.
    """
    check_request(request)
    layout = StoreLayout(store.absolute())
    protocol = protocol_named(request.protocol)
    manifests = _manifests(data, config, protocol, store, listener)
    jobs = [_job(layout, config, request.experiments)]
    if BACKBONE_FIGURES & set(request.figures):
        compared = tuple(
            dict.fromkeys(EXPERIMENT_OF_FIGURE[number] for number in request.figures if number in BACKBONE_FIGURES)
        )
        for name in request.backbones:
            if name != config.embed.backbone:
                embed = config.embed.model_copy(update={"backbone": name})
                jobs.append(_job(layout, config.model_copy(update={"embed": embed}), compared))

    with ExitStack() as stack:
        for category in manifests:
            stack.enter_context(category_lock(layout, category, wait_seconds=config.wait_seconds))
            sweep(layout, category)
        paths = {category: str(save_manifest(layout, manifest)) for category, manifest in manifests.items()}
        stack.enter_context(telemetry.recording(listener))
        stack.enter_context(with_prefect(debug))
        from flows.measure import benchmark

        return Path(benchmark(paths, str(layout.root), jobs, request, str(out.absolute())))


def measure_key(experiment: str, **parts: object) -> str:
    """Key of one experiment on one category."""
    return content_key("measure", {"experiment": experiment, **parts, "version": ALGORITHM_VERSIONS["measure"]})


def _manifests(
    data: Sequence[Path],
    config: RunConfig,
    protocol: Protocol,
    store: Path,
    listener: Callable[[str, str, int, int], None] | None,
) -> dict[str, DatasetManifest]:
    """Images of every category that the protocol clusters; categories of two data sets need two names."""
    hashing = (lambda done, total: listener("", "list", done, total)) if listener else None
    found: dict[str, DatasetManifest] = {}
    for path in data:
        for manifest in list_datasets(path, config, exclude=store, progress=hashing):
            if manifest.category in found:
                raise DatasetError(f"category {manifest.category} is in two of the data sets; rename one of them")
            kept = manifest.keeping(protocol.keeps_for_clustering)
            check_enough(kept, max_bad_share=config.data.max_bad_share)
            _check_labels(kept)
            found[manifest.category] = kept
    return found


def _check_labels(manifest: DatasetManifest) -> None:
    without = sorted(image.path for image in manifest.clustered if image.label is None)
    if without:
        raise DatasetError(
            f"the benchmark needs a label for every image; {len(without)} of category {manifest.category} have none "
            f"(first: {without[0]}): give a manifest with the column label, or the layout CATEGORY/test/LABEL"
        )


def _job(layout: StoreLayout, config: RunConfig, experiments: Iterable[str]) -> BackboneJob:
    wanted = tuple(experiments)
    last = last_layer_spec(layout, config) if "holistic" in wanted else None
    return BackboneJob(config, embedding_spec(layout, config), last, wanted)
