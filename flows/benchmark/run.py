"""The benchmark: data sets x methods under a named protocol, laid beside the published numbers."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from anoclust_core.config import RunConfig
from anoclust_core.errors import ConfigError, DatasetError
from anoclust_core.evaluation.protocols import ARDELEAN, Protocol, protocol_named
from anoclust_core.keys import content_key
from anoclust_core.records import DatasetManifest, EmbeddingSpec
from anoclust_core.versions import ALGORITHM_VERSIONS
from flows.decoding import settled_spec
from flows.prefect_server.around import kept_if_complete, with_prefect
from tasks import telemetry
from tasks.images.listing import check_enough, is_enough, list_datasets
from tasks.networks.backbone_spec import embedding_spec, last_layer_spec
from tasks.stores.layout import StoreLayout
from tasks.stores.locks import category_lock
from tasks.stores.manifests import save_manifest
from tasks.stores.upkeep.recover import sweep

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

ARDELEAN_TABLES: Final = MappingProxyType(
    {
        "ardelean-1": "ardelean_clustering",
        "ardelean-2": "ardelean_localization",
        "ardelean-3": "ardelean_ablation",
        "ardelean-4": "ardelean_clusterings",
        "ardelean-s4": "ardelean_thresholds",
    }
)
"""Tables of [ARDELEAN24] and what they show; ``s4`` is section S4 of its supplement."""

ARDELEAN_FIGURES: Final = MappingProxyType({"ardelean-5": "ardelean_temperatures"})
"""Figures of [ARDELEAN24] and what they show."""

REFERENCE_EXPERIMENTS: Final = MappingProxyType(
    {"ardelean-1": ("temperatures", "distances"), "ardelean-2": ("localization",)}
)
"""Experiments of [SOHN23] that tables of [ARDELEAN24] show beside their own."""

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
        Name of the evaluation protocol of the tables of [SOHN23]; those of [ARDELEAN24] have their own.
    tables, figures
        Numbers as in [SOHN23], and names of [ARDELEAN24] in `ARDELEAN_TABLES` and `ARDELEAN_FIGURES`.
    n_subsets
        Random 90 % subsets for error bars.
    backbones
        Those that Figures 9 to 11 compare, besides the one of the tables.
    methods
        Short names of the methods that tables of [SOHN23] compare; all where empty.
    """

    protocol: str
    tables: tuple[str, ...]
    figures: tuple[str, ...]
    n_subsets: int
    backbones: tuple[str, ...]
    methods: tuple[str, ...] = ()

    @property
    def of_sohn(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Tables and figures of [SOHN23]."""
        return _of(self.tables, EXPERIMENT_OF_TABLE), _of(self.figures, EXPERIMENT_OF_FIGURE)

    @property
    def of_ardelean(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Tables and figures of [ARDELEAN24]."""
        return _of(self.tables, ARDELEAN_TABLES), _of(self.figures, ARDELEAN_FIGURES)

    @property
    def experiments(self) -> list[str]:
        """Experiments of [SOHN23] on the main backbone; the temperatures come first, others depend on them."""
        tables, figures = self.of_sohn
        wanted = [EXPERIMENT_OF_TABLE[table] for table in tables]
        wanted += [EXPERIMENT_OF_FIGURE[figure] for figure in figures]
        if not wanted:
            return []
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


@dataclass(frozen=True)
class BlindJob:
    """Tables and figures of [ARDELEAN24].

    Attributes
    ----------
    config, spec
        Recipe blind as asked for, and what its backbone resolves to.
    experiments
        To run with it.
    reference
        The same backbone as recipe sohn takes it, with what stands beside; None where no table needs it.
    manifests
        Path of the saved manifest by category: the images of protocol `ardelean`, without normals.
    """

    config: RunConfig
    spec: EmbeddingSpec
    experiments: tuple[str, ...]
    reference: BackboneJob | None
    manifests: dict[str, str]


def default_tables(figures: Iterable[str]) -> tuple[str, ...]:
    """Tables where none is asked for: none beside figures of [ARDELEAN24] alone, which need no pair of images."""
    asked = list(figures)
    return () if asked and all(name in ARDELEAN_FIGURES for name in asked) else DEFAULT_TABLES


def check_request(request: BenchmarkRequest) -> None:
    """Refuse unknown tables, figures and protocols.

    Raises
    ------
    ConfigError
        If there is no such table, figure or protocol.
    """
    protocol_named(request.protocol)
    for kind, asked, known in (
        ("--table", request.tables, (*EXPERIMENT_OF_TABLE, *ARDELEAN_TABLES)),
        ("--figure", request.figures, (*EXPERIMENT_OF_FIGURE, *ARDELEAN_FIGURES)),
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
        Backbone and data settings, and those of recipe blind for tables of [ARDELEAN24].
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
    listed = _listed(data, config, store, listener)
    manifests = _kept(listed, config, protocol_named(request.protocol)) if request.experiments else {}
    is_blind = any(request.of_ardelean)
    blind_manifests = _kept([one.blind() for one in listed], config, ARDELEAN) if is_blind else {}
    config = config.model_copy(update={"recipe": "sohn"})
    jobs = [_job(layout, config, request.experiments)] if request.experiments else []
    if BACKBONE_FIGURES & set(request.figures):
        compared = tuple(
            dict.fromkeys(EXPERIMENT_OF_FIGURE[number] for number in request.figures if number in BACKBONE_FIGURES)
        )
        for name in request.backbones:
            if name != config.embed.backbone:
                embed = config.embed.model_copy(update={"backbone": name})
                jobs.append(_job(layout, config.model_copy(update={"embed": embed}), compared))

    with ExitStack() as stack:
        for category in sorted({*manifests, *blind_manifests}):
            stack.enter_context(category_lock(layout, category, wait_seconds=config.wait_seconds))
            sweep(layout, category)
        for manifest in listed:
            settled_spec(layout, manifest, embedding_spec(layout, config), config)
        paths = {category: str(save_manifest(layout, manifest)) for category, manifest in manifests.items()}
        blind = _blind_job(layout, config, request, blind_manifests) if is_blind else None
        stack.enter_context(telemetry.recording(listener))
        stack.enter_context(with_prefect(debug))
        from flows.benchmark.flow import benchmark

        return Path(
            kept_if_complete(
                "benchmark",
                "the benchmark",
                lambda: benchmark(paths, str(layout.root), jobs, blind, request, str(out.absolute())),
            )
        )


def measure_key(experiment: str, **parts: object) -> str:
    """Key of one experiment on one category."""
    return content_key("measure", {"experiment": experiment, **parts, "version": ALGORITHM_VERSIONS["measure"]})


def _listed(
    data: Sequence[Path],
    config: RunConfig,
    store: Path,
    listener: Callable[[str, str, int, int], None] | None,
) -> list[DatasetManifest]:
    """Images of every category; categories of two data sets need two names."""
    hashing = (lambda done, total: listener("", "list", done, total)) if listener else None
    waiting = (lambda done, total: listener("", "settle", done, total)) if listener else None
    found: dict[str, DatasetManifest] = {}
    for path in data:
        listed = list_datasets(
            path,
            config,
            exclude=store,
            progress=hashing,
            waits=lambda manifest: not is_enough(manifest, max_bad_share=config.data.max_bad_share),
            waiting=waiting,
        )
        for manifest in listed:
            if manifest.category in found:
                raise DatasetError(f"category {manifest.category} is in two of the data sets; rename one of them")
            found[manifest.category] = manifest
    return list(found.values())


def _kept(manifests: Iterable[DatasetManifest], config: RunConfig, protocol: Protocol) -> dict[str, DatasetManifest]:
    """Images of every category that the protocol clusters; all of them need labels."""
    found = {}
    for manifest in manifests:
        kept = manifest.keeping(protocol.keeps_for_clustering)
        check_enough(kept, max_bad_share=config.data.max_bad_share)
        _check_labels(kept)
        found[manifest.category] = kept
    return found


def _blind_job(
    layout: StoreLayout, config: RunConfig, request: BenchmarkRequest, manifests: dict[str, DatasetManifest]
) -> BlindJob:
    tables, figures = request.of_ardelean
    experiments = [ARDELEAN_TABLES[table] for table in tables] + [ARDELEAN_FIGURES[figure] for figure in figures]
    beside = [name for table in tables for name in REFERENCE_EXPERIMENTS.get(table, ())]
    blind = config.model_copy(update={"recipe": "blind"})
    return BlindJob(
        config=blind,
        spec=embedding_spec(layout, blind),
        experiments=tuple(dict.fromkeys(experiments)),
        reference=_job(layout, config, dict.fromkeys(beside)) if beside else None,
        manifests={category: str(save_manifest(layout, manifest)) for category, manifest in manifests.items()},
    )


def _of(asked: Iterable[str], known: Container[str]) -> tuple[str, ...]:
    return tuple(name for name in asked if name in known)


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
