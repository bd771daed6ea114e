"""Tables of the blind recipe on made-up measurements, and the paper's numbers as they are copied."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from anoclust_core.benchmark import blind, plots, published, tables_ardelean
from anoclust_core.benchmark import published_ardelean as paper
from anoclust_core.benchmark.columns import columns_of
from anoclust_core.benchmark.localization import localization_scores
from anoclust_core.benchmark.scoring import Measurement
from anoclust_core.benchmark.tables_ardelean import BlindSetting
from anoclust_core.clustering.methods import CLUSTERINGS
from anoclust_core.config import BlindConfig, WeighConfig
from anoclust_core.evaluation.protocols import ARDELEAN
from anoclust_core.records import EmbeddingSpec

SPEC = EmbeddingSpec(
    "efficientnet_lite2", "t", "w", (2, 3), 512, "bilinear", (0.5,) * 3, (0.5,) * 3, 1, (64, 64), 168, unit_norm=False
)
SETTING = BlindSetting(BlindConfig(), "0.3sd", SPEC, None, {}, {"magnetic_tile": 583})


def test_the_papers_tables_agree_with_each_other():
    """What the paper prints twice, and what it takes over from Sohn et al., is the same here."""
    for column in (paper.MTD, paper.TEXTURE, paper.LEAVES):
        assert paper.TABLE_3[paper.OURS][column] == paper.TABLE_1[paper.OURS][column]
        assert paper.TABLE_4["ward"][column] == paper.TABLE_1[paper.OURS][column][0]
    for name in (published.AVERAGE, published.MAX_HAUSDORFF, published.WEIGHTED):
        for column in (paper.MTD, paper.TEXTURE):
            assert paper.TABLE_1[name][column] == published.TABLE_1[name][column]
    for rows in (paper.TABLE_1, paper.TABLE_3):
        assert all(0 <= value <= 1 for row in rows.values() for triple in row.values() for value in triple)
    scores = [value for row in paper.TABLE_2.values() for triple in row.values() for value in triple]
    assert all(value is None or 20 < value <= 100 for value in scores)


def test_columns_are_the_papers():
    """Leaves and magnetic tiles are columns of the paper, MVTec's objects are not printed in it."""
    columns = columns_of(["coffee_leaves", "bottle", "magnetic_tile", "tile"], paper.COLUMNS)
    assert [(column.title, column.published) for column in columns] == [
        ("MVTec (texture), 1 of 5", paper.TEXTURE),
        ("magnetic_tile", paper.MTD),
        ("coffee_leaves", paper.LEAVES),
        (f"{published.OBJECT}, 1 of 10", published.OBJECT),
    ]


def test_thresholds_and_temperatures_are_those_of_a_run():
    """Every rule and every temperature is written as the settings write it, so that keys are those of a run."""
    for rule in blind.THRESHOLD_RULES:
        assert BlindConfig(threshold=rule).threshold == rule
    for tau in blind.TAUS:
        assert WeighConfig(tau=tau).tau == tau
    assert blind.taus_of_curve("0.07")[-1] == "0.07"
    assert blind.taus_of_curve("0.3sd") == blind.TAUS


def test_scores_stand_beside_the_published_ones():
    """Descriptors that part the classes have NMI 1 in our column; the published triple is beside it, and a warning."""
    labels = ["good", "good", "hole", "hole", "crack", "crack"]
    descriptors = np.repeat(np.eye(3), 2, axis=0)
    rows = blind.score_descriptors(
        descriptors, labels, method=paper.OURS, setting="", clusterings=tuple(CLUSTERINGS), seed=0, extra={"tau": 0.1}
    )
    results = {"magnetic_tile": {blind.CLUSTERINGS: rows, blind.CLUSTERING: rows}}
    table = tables_ardelean.clusterings_table(results, SETTING)
    ward = next(row for row in table.rows if row[0] == "Ward")
    assert list(ward[1:]) == ["1.000 / 1.000 / 1.000", "1.000 / 1.000 / 1.000", "0.221"]
    text = tables_ardelean.clustering_table(results, SETTING).markdown()
    assert "| ours | 1.000 / 1.000 / 1.000 | 1.000 / 1.000 / 1.000 | 0.221 / 0.392 / 0.670 |" in text
    assert "| STEGO, published only | – | – | 0.056 / 0.111 / 0.586 |" in text
    assert "one cluster" in text
    assert "good against defect" in text
    assert "magnetic_tile 583 (published: 1,344)" in text
    assert "published, other backbone" in text
    assert (
        "published, other backbone"
        not in tables_ardelean.clustering_table(
            results, replace(SETTING, spec=replace(SPEC, backbone="wide_resnet50_2"))
        ).markdown()
    )


def test_categories_need_not_have_the_same_notes():
    """A category without an anomalous cell has no threshold; the mean over the column is over what both have."""
    score = {"nmi": 0.5, "ari": 0.5, "f1_micro": 0.5, "f1_weighted": 0.5}
    results = {
        name: {blind.ABLATION: [Measurement(paper.OURS, "Ward", scores={**score, **extra})]}
        for name, extra in (("tile", {"threshold": 1.0}), ("wood", {}))
    }
    table = tables_ardelean.ablation_table(results, SETTING)
    assert next(row for row in table.rows if row[0] == paper.OURS)[1] == "0.500 / 0.500 / 0.500"


def test_localization_of_the_truth_is_perfect():
    """A map that is the mask has all scores 1; without masks only images are scored, with one kind nothing is."""
    masks = np.zeros((4, 32, 32), np.bool_)
    masks[2:, 8:16, 8:16] = True
    maps = masks[:, ::4, ::4].astype(np.float32)
    labels = ["good", "good", "hole", "hole"]
    found = localization_scores(maps, labels, masks, protocol=ARDELEAN)
    assert found["image_auroc"] == 1
    assert found["pixel_auroc"] > 0.99
    assert found["pro"] > 0.9
    assert set(localization_scores(maps, labels, None, protocol=ARDELEAN)) == {"image_auroc"}
    assert localization_scores(maps, ["good"] * 4, None, protocol=ARDELEAN) == {}
    swapped = localization_scores(maps, ["hole", "combined", "good", "combined"], None, protocol=ARDELEAN)
    assert swapped == {"image_auroc": 0}


@pytest.mark.parametrize(("categories", "label"), [(("tile",), "NMI"), (("tile", "nut"), "NMI, summed over tile, nut")])
def test_bars_say_what_they_are(monkeypatch, categories, label):
    """Bars of one category are its NMI; only those of several are a sum, and say so."""
    drawn: list[Figure] = []
    monkeypatch.setattr(plots, "_png", lambda figure: drawn.append(figure) or b"")
    rows = {"distances": [Measurement("average", "Ward", scores={"nmi": 0.5})]}
    plots.backbone_bars({"a": dict.fromkeys(categories, rows)}, "distances")
    assert drawn[0].axes[0].get_ylabel() == label
