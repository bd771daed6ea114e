"""Recipe auto in scikit-learn's manner: the clusters of `anoclust run`, for images or bags in memory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin
from sklearn.utils.validation import check_array, check_is_fitted, validate_data
from threadpoolctl import threadpool_limits

from anoclust_core.arrays import checked_arrays, told
from anoclust_core.bags import UNIT_NORM_TOLERANCE, normalize_patches
from anoclust_core.clustering.cut import suggest_cut
from anoclust_core.clustering.knee import split_index
from anoclust_core.clustering.linkage import cut_tree, linkage_tree
from anoclust_core.clustering.smoothing import smoothed
from anoclust_core.errors import ArrayContractError, ConfigError
from anoclust_core.matching.assigning import assign, choose
from anoclust_core.matching.prototypes import fit_prototypes, merge_height
from anoclust_core.pairwise.cpu import nearest_distances
from anoclust_core.records import Role
from anoclust_core.seeding import generator
from anoclust_core.weighting.auto import PooledLevel, fit_descriptors, pool_level
from anoclust_core.weighting.auto_scoring import fit_scoring, patch_scores
from anoclust_core.weighting.reference import MIN_BLIND, draw
from anoclust_core.weighting.weights import uniform_weights
from anoclust_core.weighting.whitening import Moments

Images = Any
"""What an estimator takes: see `AnomalyClusterer`."""

Levels = Callable[[Sequence[Any]], Sequence[NDArray[np.floating[Any]]]]
"""From images to feature levels, the first the finest, each of shape ``(n_images, height, width, dim)``."""

UNKNOWN: Final = -1
"""Label of an image that lies too far from every cluster."""

_ROWS_AT_ONCE: Final = 8
"""Images whose distances to the whole reference are held at a time."""


@dataclass(frozen=True)
class _Bags:
    """Distinct images as bags: what each is told by, how many are the same, every feature level, and the levels' grids.

    ``levels`` are in half precision, as runs keep them, shape ``(n_images, n_patches, dim)`` each.
    """

    contents: list[str]
    counts: list[int]
    levels: list[NDArray[np.float16]]
    grids: list[tuple[int, int]]


@dataclass(frozen=True)
class _Reference:
    """Bags that rarity is measured against: the normals, or the clustered images themselves."""

    contents: frozenset[str]
    counts: NDArray[np.int64]
    bags: NDArray[np.float16]
    role: Role


class AnomalyClusterer(ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin, BaseEstimator):
    """Cluster images by type of anomaly, by recipe auto: the functions and the clusters of `anoclust run`.

    ``X`` is one of these:

    - with a ``backbone``: images, each of shape ``(height, width, 3)``, uint8, RGB, of any size; or what else the
      backbone takes, arrays all the same;
    - without: bags of patch features from any network, shape ``(n_images, n_patches, dim)``; or one vector an image,
      shape ``(n_images, dim)``, which is a bag of one patch. Every patch is scaled to unit norm.

    An image is told by its values: what was fitted keeps its label and descriptor in `predict` and `transform`, and
    images that are the same count once where a run counts copies of a file once. Rows are taken in the order given,
    which decides the random parts that stability is judged by; runs take files in the order of their content hashes.
    Time grows with ``n_images * n_reference``; memory with ``n_images``: the bags of every level are held in half
    precision, those of the reference in single precision too.

    Parameters
    ----------
    backbone
        From images to feature levels, each of shape ``(n_images, height, width, dim)``, the finest first:
        `anoclust_core.embedding.of_arrays.Backbone`, or a function of your own. None takes ``X`` as bags.
    n_clusters
        Number of clusters; or the lowest and the highest, ``(3, 8)``; None takes what the tree suggests.
    tau
        Temperature of the weights of patches, as the setting ``weigh.tau``.
    n_reference
        Measure rarity against this many distinct images, drawn at random, [SOHN23] eq. (7); None takes all.
    random_state
        Seed of every random draw, a whole number from 0: the setting ``seed``.
    n_jobs
        Threads that compare images, as scikit-learn takes it: None is one, -1 all cores.

    Attributes
    ----------
    labels_
        Shape ``(n_images,)``, int64: cluster of each image, numbered by decreasing size.
    n_clusters_
        How many there are.
    criterion_
        Why as many, in words.
    split_index_
        Whether there is more than one kind at all, `anoclust_core.clustering.knee.split_index`; None for few images.
    rarity_, weights_
        Shape ``(n_images, n_patches)``, float64: rarity of every patch of the first level, and its weight; rows of the
        weights sum to 1.
    descriptors_
        Shape ``(n_images, dim_of_descriptors)``, float32, before smoothing: what `transform` gives.
    linkage_
        Shape ``(n_images - 1, 4)``: Ward's tree of the smoothed descriptors, SciPy's layout.
    tau_
        First temperature in embedding units; against normals in standard deviations of the summed scores.
    n_features_in_
        Length of a patch; with a backbone there is none.

    Examples
    --------
    >>> bags = np.random.default_rng(0).normal(size=(12, 4, 8))
    >>> bags[:4, 0] += 20  # four images show the same
    >>> AnomalyClusterer(n_clusters=2).fit_predict(bags)[:4].tolist()
    [1, 1, 1, 1]
    """

    def __init__(
        self,
        backbone: Levels | None = None,
        *,
        n_clusters: int | tuple[int, int] | None = None,
        tau: str | float = "0.3sd",
        n_reference: int | None = None,
        random_state: int = 0,
        n_jobs: int | None = None,
    ) -> None:
        self.backbone = backbone
        self.n_clusters = n_clusters
        self.tau = tau
        self.n_reference = n_reference
        self.random_state = random_state
        self.n_jobs = n_jobs

    def fit(self, X: Images, y: object = None, *, normals: Images = None) -> AnomalyClusterer:  # noqa: ARG002, N803
        """Cluster images; labels are not used.

        Parameters
        ----------
        X
            Images, at least two; see the class.
        y
            Ignored.
        normals
            Known normal images, as ``X``: rarity is measured against these instead of the other images.

        Raises
        ------
        ArrayContractError
            If images or bags are not what they should be, or have another shape than each other.
        ValueError
            If scikit-learn's checks of arrays fail: too few rows, NaN or infinity.
        ConfigError
            If a parameter is none that can be used.
        """
        n_clusters, bounds = _asked_number(self.n_clusters)
        if not isinstance(self.random_state, (int, np.integer)) or self.random_state < 0:
            raise ConfigError(
                f"expected random_state of a whole number from 0, found {told(self.random_state)}; give one"
            )
        rows = self._rows(X, is_fitted=True)
        contents = [_content(row) for row in rows]
        first, inverse, counts = _distinct(contents)
        images = self._bags(rows, contents, first, counts)
        known = self._normals(normals, images)
        self._reference = self._chosen_reference(images, known)

        scores = self._scores(images)
        self._scoring = fit_scoring(np.repeat(scores, counts, axis=0), tau=str(self.tau))
        rarity = self._scoring.summed(scores)
        weights = self._scoring.weights(rarity)
        pooled, moments = _pooled(images, weights, counts=counts)
        of_normals = None
        if known is not None:
            uniform = uniform_weights(len(known.contents), rarity.shape[1])[:, None]
            of_normals = [Moments.of(level.whole, known.counts) for level in _pooled(known, uniform)[0]]
        with threadpool_limits(1):  # many small products: threads would wait for each other
            found = fit_descriptors(
                pooled,
                patches=moments,
                normals=of_normals,
                n_clusters=n_clusters,
                generator=generator(self.random_state, "stability"),
            )
            self.split_index_ = split_index(found.unsmoothed, generator=generator(self.random_state, "split"))
        self._model = found.model
        self.linkage_, self.labels_, self.criterion_ = _clustered(
            smoothed(found.unsmoothed)[inverse], np.array(first), n_clusters, bounds
        )
        self.n_clusters_ = int(self.labels_.max()) + 1
        self.rarity_, self.weights_ = rarity[inverse], weights.mean(axis=1)[inverse]
        self.descriptors_ = found.unsmoothed[inverse]
        self.tau_ = self._scoring.taus[0]
        self._n_features_out = self.descriptors_.shape[1]
        self._row_of = {contents[at]: at for at in first}
        self._fit_prototypes(found.plain[inverse])
        return self

    def fit_transform(self, X: Images, y: object = None, *, normals: Images = None) -> NDArray[np.float32]:  # noqa: N803
        """Cluster images and give their descriptors; parameters and errors as those of `fit`."""
        return self.fit(X, y, normals=normals).descriptors_.copy()

    def transform(self, X: Images) -> NDArray[np.float32]:  # noqa: N803
        """Describe images by what was learnt; nothing that was fitted moves.

        Parameters
        ----------
        X
            Images, as `fit` takes them; at least one.

        Returns
        -------
        descriptors
            Shape ``(n_images, dim_of_descriptors)``, float32, before smoothing: `descriptors_` of images that were
            fitted.

        Raises
        ------
        ArrayContractError, ValueError
            As `fit`.
        """
        return self._described(X)[0]

    def predict(self, X: Images) -> NDArray[np.int64]:  # noqa: N803
        """Give images to the clusters, as nights do; what lies too far from all of them is -1.

        The cluster is the nearest by the descriptors, `anoclust_core.matching.assigning.choose`; whether it takes the
        image is told by the plain ones of [SOHN23] eq. (1), `assign`. An image that was fitted keeps its label.

        Parameters
        ----------
        X
            Images, as `fit` takes them; at least one.

        Returns
        -------
        labels
            Shape ``(n_images,)``, int64.

        Raises
        ------
        ArrayContractError, ValueError
            As `fit`.
        """
        descriptors, plain, known = self._described(X)
        labels = np.array([self.labels_[row] if row is not None else UNKNOWN for row in known], dtype=np.int64)
        fresh = [at for at, row in enumerate(known) if row is None]
        if fresh:
            choice = choose(descriptors[fresh], self._choosing)
            found = assign(plain[fresh], self._measuring, choice=choice).ids
            labels[fresh] = [UNKNOWN if name is None else int(name[1:]) - 1 for name in found]
        return labels

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn what goes in and what comes out."""
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = []  # descriptors are float32 whatever the bags are
        return tags

    def _fit_prototypes(self, plain: NDArray[np.float32]) -> None:
        """Learn how far the members of a cluster lie, by both kinds of descriptors; nights do the same."""
        names = [f"c{label + 1}" for label in self.labels_.tolist()]
        height = merge_height(linkage_tree(plain, method="ward"), n_clusters=self.n_clusters_)
        self._measuring = fit_prototypes(plain, names, merge_height=height)
        self._choosing = fit_prototypes(self.descriptors_, names, merge_height=0.0)

    def _rows(self, images: Images, *, is_fitted: bool = False) -> Sequence[NDArray[Any]]:
        """Rows of ``X``, checked as far as can be without the backbone; ``is_fitted``: they are what is learnt from."""
        least = 2 if is_fitted else 1
        if self.backbone is not None:
            rows = checked_arrays("X", images, "(..., channels)", least=1)
            if len(rows) < least:
                raise ArrayContractError(f"expected X of at least {least} images, found {len(rows)}")
            return rows
        dtypes = [np.float64, np.float32, np.float16]
        if (images.ndim if hasattr(images, "ndim") else np.asarray(images).ndim) <= 2:
            vectors = validate_data(self, images, reset=is_fitted, ensure_min_samples=least, dtype=dtypes)
            return list(vectors[:, None])
        bags: NDArray[Any] = check_array(images, allow_nd=True, ensure_min_samples=least, dtype=dtypes, estimator=self)
        if bags.ndim != 3:
            raise ArrayContractError(
                f"expected X of bags (n_images, n_patches, dim) or vectors (n_images, dim), found {told(bags)}; images "
                "need a backbone"
            )
        if is_fitted:
            self.n_features_in_ = bags.shape[2]
        elif bags.shape[2] != self.n_features_in_:
            raise ArrayContractError(f"expected patches of {self.n_features_in_} values, as fitted, found {told(bags)}")
        return list(bags)

    def _bags(
        self, rows: Sequence[NDArray[Any]], contents: Sequence[str], chosen: Sequence[int], counts: Sequence[int]
    ) -> _Bags:
        """Bags of some of the rows, each of which stands for as many images as ``counts`` says."""
        taken = [rows[at] for at in chosen]
        if self.backbone is None:
            levels = [_at_rest(np.stack(taken))]
            grids = [(1, levels[0].shape[1])]
        else:
            maps = [np.asarray(level) for level in self.backbone(taken)]
            if not maps or any(level.ndim != 4 or len(level) != len(taken) for level in maps):
                raise ArrayContractError(
                    f"expected levels (n_images, height, width, dim) of {len(taken)} images from the backbone, found "
                    f"{', '.join(told(level) for level in maps) or 'none'}"
                )
            levels = [_at_rest(level.reshape(len(level), -1, level.shape[3])) for level in maps]
            grids = [(level.shape[1], level.shape[2]) for level in maps]
        return _Bags([contents[at] for at in chosen], list(counts), levels, grids)

    def _normals(self, normals: Images, images: _Bags) -> _Bags | None:
        """Bags of the known normals, with the levels of the images."""
        if normals is None:
            return None
        rows = self._rows(normals)
        contents = [_content(row) for row in rows]
        first, _, counts = _distinct(contents)
        known = self._bags(rows, contents, first, counts)
        _check_levels(known, images, "normals")
        return known

    def _chosen_reference(self, images: _Bags, normals: _Bags | None) -> _Reference:
        """Images that rarity is measured against: all of them, or as many as asked for."""
        source, least = (images, MIN_BLIND) if normals is None else (normals, 1)
        wanted = self.n_reference
        if wanted is not None and (not isinstance(wanted, (int, np.integer)) or wanted < least):
            raise ConfigError(
                f"expected n_reference of None or a whole number from {least}, found {told(wanted)}; give one"
            )
        size = len(source.contents) if wanted is None else wanted
        drawn = set(draw(source.contents, size, seed=self.random_state))
        rows = [at for at, content in enumerate(source.contents) if content in drawn]
        return _Reference(
            contents=frozenset(drawn),
            counts=np.array([source.counts[at] for at in rows], np.int64),
            bags=source.levels[0][rows],
            role="cluster" if normals is None else "normal",
        )

    def _scores(self, images: _Bags) -> NDArray[np.float64]:
        """Scores of every patch against the reference, ``(n_images, n_patches, n_scores)``."""
        against = self._reference
        reference = normalize_patches(against.bags)
        is_reference = np.array([content in against.contents for content in images.contents])

        def of_rows(start: int) -> NDArray[np.float64]:
            rows = slice(start, start + _ROWS_AT_ONCE)
            distances = nearest_distances(normalize_patches(images.levels[0][rows]), reference).astype(np.float16)
            return patch_scores(distances, against.counts, is_reference=is_reference[rows], role=against.role)

        with ThreadPoolExecutor(_threads(self.n_jobs)) as pool:
            return np.concatenate(list(pool.map(of_rows, range(0, len(images.contents), _ROWS_AT_ONCE))))

    def _described(self, X: Images) -> tuple[NDArray[np.float32], NDArray[np.float32], list[int | None]]:  # noqa: N803
        """Descriptors and plain ones of images, and the row of each that was fitted; plain ones only of the others."""
        check_is_fitted(self)
        rows = self._rows(X)
        contents = [_content(row) for row in rows]
        known = [self._row_of.get(content) for content in contents]
        descriptors = np.empty((len(rows), self._n_features_out), np.float32)
        plain = np.zeros((len(rows), self._measuring.means.shape[1]), np.float32)
        for at, row in enumerate(known):
            if row is not None:
                descriptors[at] = self.descriptors_[row]
        fresh = [at for at, row in enumerate(known) if row is None]
        if fresh:
            images = self._bags(rows, contents, fresh, [1] * len(fresh))
            if images.levels[0].shape[1:] != (self.rarity_.shape[1], self._reference.bags.shape[2]):
                raise ArrayContractError(
                    f"expected bags of {self.rarity_.shape[1]} patches and {self._reference.bags.shape[2]} values, as "
                    f"fitted, found {told(images.levels[0])}"
                )
            weights = self._scoring.weights(self._scoring.summed(self._scores(images)))
            pooled, _ = _pooled(images, weights)
            descriptors[fresh] = self._model.descriptors(pooled)
            plain[fresh] = pooled[0].plain
        return descriptors, plain, known


def _asked_number(asked: object) -> tuple[int | None, tuple[int, int | None]]:
    """Number of clusters that is asked for, or None, and its bounds."""
    if asked is None:
        return None, (1, None)
    both = asked if isinstance(asked, (tuple, list)) else (asked, asked)
    if len(both) != 2 or not all(isinstance(one, (int, np.integer)) for one in both) or not 1 <= both[0] <= both[1]:
        raise ConfigError(
            f"expected n_clusters of None, a whole number from 1 or the lowest and the highest, found {told(asked)}; "
            "give one of these"
        )
    return (None, (int(both[0]), int(both[1]))) if isinstance(asked, (tuple, list)) else (int(both[0]), (1, None))


def _threads(n_jobs: int | None) -> int:
    """Number of threads, as scikit-learn reads ``n_jobs``."""
    if n_jobs is not None and (not isinstance(n_jobs, (int, np.integer)) or n_jobs == 0):
        raise ConfigError(f"expected n_jobs of None or a whole number but 0, found {told(n_jobs)}; -1 is all cores")
    cores = os.cpu_count() or 1
    return 1 if n_jobs is None else int(n_jobs) if n_jobs > 0 else max(1, cores + 1 + int(n_jobs))


def _clustered(
    descriptors: NDArray[np.float32],
    distinct: NDArray[np.int64],
    n_clusters: int | None,
    bounds: tuple[int, int | None],
) -> tuple[NDArray[np.float64], NDArray[np.int64], str]:
    """Tree of smoothed descriptors, labels, why so many clusters; ``distinct`` are the ``rows`` of `suggest_cut`."""
    linkage = linkage_tree(descriptors, method="ward")
    if n_clusters is not None:
        return linkage, cut_tree(linkage, n_clusters=n_clusters), "as asked for with n_clusters"
    lowest, highest = bounds
    if highest is not None:
        highest = min(highest, len(descriptors))
    found, labels = suggest_cut(linkage, descriptors, rows=distinct, lowest=lowest, highest=highest)
    return linkage, labels, found.criterion


def _content(row: NDArray[Any]) -> str:
    """What an image is told by: digest of its shape and values, in half precision where they are features."""
    values = _at_rest(row) if row.dtype.kind == "f" and row.ndim == 2 else row
    head = f"{values.dtype} {values.shape} ".encode()
    return hashlib.sha256(head + np.ascontiguousarray(values).tobytes()).hexdigest()


def _distinct(contents: Sequence[str]) -> tuple[list[int], NDArray[np.int64], list[int]]:
    """First row of each content, the content of each row by its position among those, and how many rows have each."""
    position: dict[str, int] = {}
    first: list[int] = []
    counts: list[int] = []
    inverse = np.empty(len(contents), np.int64)
    for at, content in enumerate(contents):
        if content not in position:
            position[content] = len(first)
            first.append(at)
            counts.append(0)
        inverse[at] = position[content]
        counts[position[content]] += 1
    return first, inverse, counts


def _at_rest(bags: NDArray[np.floating[Any]]) -> NDArray[np.float16]:
    """Bags of unit norm in half precision; those that are that already stay as they are, to the last bit."""
    if bags.dtype == np.float16:
        norms = np.linalg.norm(bags.astype(np.float32), axis=-1)
        if np.abs(norms - 1).max(initial=0) <= UNIT_NORM_TOLERANCE:
            return bags
    return normalize_patches(bags).astype(np.float16)


def _pooled(
    images: _Bags, weights: NDArray[np.float64], *, counts: Sequence[int] | None = None
) -> tuple[list[PooledLevel], list[Moments]]:
    """Pool every level of images by weights on the first level's grid; gives moments where there are counts."""
    pooled, moments = [], []
    for bags, grid in zip(images.levels, images.grids, strict=True):
        level, seen = pool_level(
            lambda rows, bags=bags: normalize_patches(bags[rows]),  # type: ignore[misc]
            weights,
            weights_grid=images.grids[0],
            grid=grid,
            counts=counts,
        )
        pooled.append(level)
        if seen is not None:
            moments.append(seen)
    return pooled, moments


def _check_levels(given: _Bags, images: _Bags, name: str) -> None:
    """Refuse bags that have other levels than the images."""
    found, expected = ([level.shape[1:] for level in one.levels] for one in (given, images))
    if found != expected:
        raise ArrayContractError(f"expected {name} with bags {expected}, as the images, found {found}")
