"""What the benchmark can show, what it is asked for, and the jobs that follow from it."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from anoclust_core.config import RunConfig
from anoclust_core.errors import ConfigError
from anoclust_core.evaluation.protocols import protocol_named
from anoclust_core.records import EmbeddingSpec
from tasks.stores.addresses import with_home
from tasks.stores.stage_keys import stage_key

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


ABLATION_NAMES: Final = (
    "auto: blind", "auto: normals", "auto: normals without siblings",
    "numbers: blind", "numbers: normals", "numbers: only good",
)  # fmt: skip
"""Experiments that take recipe auto apart, without importing them; a test holds them to the experiments'."""


RECIPES: Final = "recipes"
"""Experiment that puts recipe auto beside deep clustering, without importing it; a test holds it to its own name."""


DEEP_METHODS: Final = ("iic", "gatcluster", "scan", "spice")
"""Deep clustering that can be chosen, without importing what trains it; a test holds them to the methods'."""


DEEP_EXPERIMENTS: Final = MappingProxyType({f"deep: {name}": name for name in DEEP_METHODS})
"""Methods of deep clustering by the experiment that trains and scores one."""


DEEP_TABLES: Final = ("2", "8", "ardelean-1")
"""Tables that show deep clustering."""


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
    ablation
        Whether recipe auto is taken apart, beside the published methods.
    as_published
        Whether deep clustering is trained as its papers do it, and not in a small size.
    detectors
        Folder with trained detectors, ``METHOD/CATEGORY.xml``, which Table 2 of [ARDELEAN24] shows; empty where there
        is none.
    """

    protocol: str
    tables: tuple[str, ...]
    figures: tuple[str, ...]
    n_subsets: int
    backbones: tuple[str, ...]
    methods: tuple[str, ...] = ()
    ablation: bool = False
    as_published: bool = False
    detectors: str = ""

    @property
    def classical(self) -> tuple[str, ...]:
        """Methods that nothing is trained for; all where empty."""
        return tuple(name for name in self.methods if name not in DEEP_METHODS)

    @property
    def deep(self) -> tuple[str, ...]:
        """Experiments of the deep methods that are asked for, with recipe auto beside them; none where none is."""
        wanted = [name for name, method in DEEP_EXPERIMENTS.items() if method in self.methods]
        return (RECIPES, *wanted) if wanted else ()

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
        needed = ["temperatures", *(name for name in wanted if name not in PICTURED)] if wanted else []
        deep = self.deep if set(tables) & set(DEEP_TABLES) else ()
        return list(dict.fromkeys([*needed, *deep, *(ABLATION_NAMES if self.ablation else ())]))


@dataclass(frozen=True)
class BackboneJob:
    """One backbone of a benchmark.

    Attributes
    ----------
    config, spec
        What is asked for, and what it resolves to.
    last
        The same backbone with its last layer, where Table 4 or Figure 9 is asked for.
    levels
        The same backbone as recipe auto takes it, where that is taken apart.
    experiments
        To run on it.
    as_published
        Whether deep clustering among them is trained as its papers do it.
    """

    config: RunConfig
    spec: EmbeddingSpec
    last: EmbeddingSpec | None
    experiments: tuple[str, ...]
    levels: EmbeddingSpec | None = None
    as_published: bool = False


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
    detectors
        As `BenchmarkRequest.detectors`.
    """

    config: RunConfig
    spec: EmbeddingSpec
    experiments: tuple[str, ...]
    reference: BackboneJob | None
    manifests: dict[str, str]
    detectors: str = ""


def default_tables(figures: Iterable[str], methods: Iterable[str] = ()) -> tuple[str, ...]:
    """Default tables: none if only figures of [ARDELEAN24] are asked for, which need no pairs of images.

    If only deep clustering is asked for, the table that shows it.
    """
    asked, wanted = list(figures), list(methods)
    if wanted and not asked and all(name in DEEP_METHODS for name in wanted):
        return DEEP_TABLES[:1]
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
        ("--methods", request.methods, (*METHOD_NAMES, *DEEP_METHODS)),
    ):
        for number in asked:
            if number not in known:
                raise ConfigError(f"{kind} takes one of {', '.join(known)}; found {number!r}")
    if request.deep and not set(request.tables) & set(DEEP_TABLES):
        raise ConfigError(
            f"--methods asks for deep clustering, which stands in --table {' or '.join(DEEP_TABLES)}; found "
            f"{', '.join(request.tables) or 'no table'}: add one of them"
        )
    if request.as_published and not request.deep:
        raise ConfigError(
            f"--as-published says how deep clustering is trained, and found none of it; add --methods "
            f"{','.join(DEEP_METHODS)}"
        )
    if request.detectors and "ardelean-2" not in request.tables:
        raise ConfigError("--detectors stand in --table ardelean-2; add it, or omit them")
    if request.detectors and not with_home(request.detectors).is_dir():
        raise ConfigError(
            f"--detectors {request.detectors} is not a folder; give one with METHOD/CATEGORY.xml, as "
            "`anoclust detector train` writes them"
        )
    if request.n_subsets < 2:
        raise ConfigError(
            f"--subsets takes a whole number from 2, to estimate a standard error; found {request.n_subsets}"
        )


def measure_key(experiment: str, **parts: object) -> str:
    """Key of one experiment on one category."""
    return stage_key("measure", experiment=experiment, **parts)


def _of(asked: Iterable[str], known: Container[str]) -> tuple[str, ...]:
    return tuple(name for name in asked if name in known)
