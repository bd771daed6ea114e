from __future__ import annotations

import dataclasses
import re
from functools import cache
from html.parser import HTMLParser

import numpy as np
import pytest
from helpers.report_example import example_report

from anoclust_core.clustering.linkage import cut_tree, linkage_tree
from anoclust_core.errors import ConfigError
from anoclust_core.reporting import html
from anoclust_core.reporting.figures import dendrogram_svg, descriptor_map_svg
from anoclust_core.reporting.html import render_report
from anoclust_core.reporting.record import ImageEntry, RunReport, Scores

HOSTILE = "\"><script>alert('x')</script>\n\x1b[31m\u202e{{ 7 * 7 }} 🙂 \udcff.png"
VOID = {"meta", "link", "img", "input", "br", "hr"}


class Page(HTMLParser):
    """What a browser would find: visible text, tags, attributes; fails on a tag that is not closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.text.append(data)

    def all_text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.text))

    def attributes(self, tag: str, name: str) -> list[str]:
        return [attributes[name] for found, attributes in self.elements if found == tag and name in attributes]


@pytest.fixture(autouse=True)
def figures_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most pages here differ in words only: one drawing for each size of run serves them all."""
    monkeypatch.setattr(html, "dendrogram_svg", lambda linkage, n, *, clusters: _tree_of_size(len(linkage), n))
    monkeypatch.setattr(html, "descriptor_map_svg", lambda descriptors, clusters: _map_of_size(len(clusters)))


@cache
def _tree_of_size(n_merges: int, n_clusters: int) -> str:
    linkage = linkage_tree(np.random.default_rng(0).normal(size=(n_merges + 1, 2)), method="ward")
    return dendrogram_svg(linkage, n_clusters, clusters=cut_tree(linkage, n_clusters=n_clusters).tolist())


@cache
def _map_of_size(n_images: int) -> str:
    return descriptor_map_svg(np.random.default_rng(0).normal(size=(n_images, 3)), [0] * n_images)


def with_first_image(report: RunReport, **changes: object) -> RunReport:
    first: ImageEntry = dataclasses.replace(report.images[0], **changes)  # type: ignore[arg-type]
    return dataclasses.replace(report, images=[first, *report.images[1:]])


def test_every_image_is_listed_when_few_are_drawn() -> None:
    """However few pictures are drawn, the page names every image and says how many it shows."""
    report = example_report(60, 3)
    page = Page(render_report(report, max_drawn_per_cluster=2))
    text = page.all_text()
    assert all(entry.path in text for entry in report.images)
    assert len(page.attributes("button", "data-path")) == 6
    assert "2 of 20 shown, all listed here" in text


def test_images_without_a_picture_are_listed() -> None:
    """A run without any picture still lists every image of every cluster."""
    report = example_report(pictures=False)
    text = Page(render_report(report)).all_text()
    assert all(entry.path in text for entry in report.images)
    assert "No pictures drawn, all listed here" in text


def test_most_anomalous_cluster_and_most_typical_image_come_first() -> None:
    """Clusters go down in median anomaly score; inside one the pictures go up in distance to its mean."""
    report = example_report(30, 3)
    page = Page(render_report(report))
    cards = [name for name in page.attributes("article", "id") if name.startswith("cluster-")]
    numbers = [int(name.removeprefix("cluster-")) for name in cards]
    scores = {n: np.median([e.anomaly_score for e in report.images if e.cluster == n]) for n in numbers}
    assert numbers == sorted(numbers, key=lambda number: -scores[number])
    tiles = [attributes for tag, attributes in page.elements if tag == "button" and "data-path" in attributes]
    distances = [float(tile["data-distance"]) for tile in tiles if tile["data-cluster"] == str(numbers[0])]
    assert distances == sorted(distances)


def test_hostile_names_are_shown_and_do_nothing() -> None:
    """Markup, quotes, control characters, template code and broken bytes in any name are text on the page."""
    report = with_first_image(example_report(), path=HOSTILE, label=HOSTILE, split=HOSTILE)
    report = dataclasses.replace(
        report,
        category=HOSTILE,
        run_id=HOSTILE,
        recipe=HOSTILE,
        n_clusters_rule=HOSTILE,
        tau_text=HOSTILE,
        protocol=HOSTILE,
        trivial={HOSTILE: Scores(0.0, 0.0, 0.0, 0.0)},
        quarantine=[(HOSTILE, HOSTILE)],
        duplicates=[[HOSTILE, HOSTILE]],
        config={HOSTILE: {HOSTILE: HOSTILE}},
        versions={HOSTILE: HOSTILE},
        notes=[HOSTILE],
    )
    html = render_report(report)
    page = Page(html)
    assert [tag for tag, _ in page.elements].count("script") == 1
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    shown = r"""\n\x1b[31m"""
    assert f"<script>alert('x')</script>{shown}" in page.all_text()
    assert "{{ 7 * 7 }} 🙂 \\udcff.png" in page.all_text()
    assert html.encode("utf-8")


def test_page_asks_no_server_for_anything() -> None:
    """Everything is inside the page: it opens from a disk without a network, and its policy forbids requests."""
    html = render_report(example_report())
    page = Page(html)
    links = [
        value for tag in {tag for tag, _ in page.elements} for n in ("src", "href") for value in page.attributes(tag, n)
    ]
    links += [value for tag in ("use", "image") for value in page.attributes(tag, "xlink:href")]
    assert links
    assert all(link.startswith(("data:", "#")) for link in links)
    assert "@import" not in html
    assert not re.search(r"url\(\s*['\"]?(?!#)", html)
    assert any("default-src 'none'" in content for content in page.attributes("meta", "content"))


def test_links_inside_the_page_lead_somewhere() -> None:
    """Every link of the page has its target, and no id occurs twice."""
    page = Page(render_report(example_report(quarantine=[("a.png", "empty file")])))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in page.attributes("a", "href")} <= set(ids)


def test_every_picture_has_a_text_alternative() -> None:
    """A screen reader gets the name of every picture; decoration is marked as such."""
    page = Page(render_report(example_report()))
    assert all("alt" in attributes for tag, attributes in page.elements if tag == "img")
    assert len([text for text in page.attributes("img", "alt") if text.startswith("part/")]) == 12


def test_same_record_same_text() -> None:
    """The page depends on the record alone."""
    assert render_report(example_report()) == render_report(example_report())


def test_quarantined_images_stand_before_the_clusters() -> None:
    """What could not be used is said, with reasons, before any result and outside any fold."""
    report = example_report(quarantine=[(f"bad/{i}.png", f"broken in way {i}") for i in range(20)])
    html = render_report(report)
    text = Page(html).all_text()
    assert "20 images could not be used" in text
    assert all(path in text and reason in text for path, reason in report.quarantine)
    assert html.index("bad/0.png") < html.index("<details") < html.index('id="clusters"')


def test_one_more_reason_is_told_in_the_singular() -> None:
    """Eight reasons are shown; of nine, one is folded."""
    report = example_report(quarantine=[(f"bad/{i}.png", f"broken in way {i}") for i in range(9)])
    assert "<summary>and 1 other reason</summary>" in render_report(report)


def test_deferred_images_stand_before_the_clusters() -> None:
    """What is left to the next run is said before any result, without an alarm; names do nothing."""
    report = example_report(deferred=[(f"late/{i}{HOSTILE}", f"changed {i} s ago") for i in range(20)])
    html = render_report(report)
    page = Page(html)
    assert "20 images left for the next run" in page.all_text()
    assert all(reason in page.all_text() for _, reason in report.deferred)
    assert html.index("late/0") < html.index('id="clusters"')
    assert [tag for tag, _ in page.elements].count("script") == 1
    assert "could not be used" not in page.all_text()


def test_no_quarantine_no_alarm() -> None:
    """A clean run shows no alarm."""
    text = Page(render_report(example_report())).all_text()
    assert "could not be used" not in text
    assert "left for the next run" not in text


def test_without_labels_the_page_says_that_no_scores_are_possible() -> None:
    """Missing labels give a sentence, not an empty table."""
    page = Page(render_report(example_report(labels=False)))
    assert "so there are no scores" in page.all_text()
    assert "NMI" not in page.all_text()


def test_scores_name_their_protocol_and_stand_beside_trivial_partitions() -> None:
    """Full, defect-only and trivial scores share one table that names protocol and tau."""
    text = Page(render_report(example_report())).all_text()
    for expected in ("protocol sohn", "0.0213", "0.610", "0.410", "one cluster", "better than every trivial partition"):
        assert expected in text


def test_scores_that_a_trivial_partition_reaches_are_called_out() -> None:
    """Where one single cluster would score as well, the page warns and gives both numbers."""
    trivial = {"one cluster": Scores(nmi=0.0, ari=0.9, f1_weighted=0.0, f1_micro=0.0)}
    text = Page(render_report(example_report(trivial=trivial))).all_text()
    assert "Read with care" in text
    assert "ARI (one cluster reaches 0.900, the clusters 0.520)" in text


def test_a_trivial_partition_that_is_the_labels_is_no_rival() -> None:
    """With one kind of defect, good against defect is what the labels say: nothing could be better than it."""
    labels_themselves = Scores(nmi=1.0, ari=1.0, f1_weighted=1.0, f1_micro=1.0)
    trivial = {"one cluster": Scores(nmi=0.0, ari=0.0, f1_weighted=0.2, f1_micro=0.3)}
    report = example_report(trivial={**trivial, "good against defect": labels_themselves})
    text = Page(render_report(report)).all_text()
    assert "better than every trivial partition. Left out: good against defect, which is the labels" in text
    assert "Read with care" not in text
    alone = Page(render_report(example_report(trivial={"one cluster": labels_themselves}))).all_text()
    assert "every trivial partition" not in alone


def test_numbers_that_are_not_finite_are_not_printed() -> None:
    """Neither nan nor inf appears on the page; a dash stands in their place."""
    report = with_first_image(example_report(), anomaly_score=float("nan"), distance=float("inf"))
    report = dataclasses.replace(
        report,
        scores=Scores(float("nan"), 0.1, 0.2, 0.3),
        linkage=np.full_like(report.linkage, np.nan),
        descriptors=np.full_like(report.descriptors, np.nan),
        tau=float("nan"),
        seconds={"embed": float("nan")},
        config={"limit": float("inf")},
    )
    html = render_report(report)
    page = Page(html)
    assert not re.search(r"\b(nan|inf)\b", page.all_text(), re.IGNORECASE)
    assert not re.search(r"\b(nan|inf)%", html)
    assert "No merge tree" in page.all_text()


@pytest.mark.parametrize(("n_images", "n_clusters"), [(2, 1), (2, 2), (40, 40)])
def test_extreme_partitions_are_shown(n_images: int, n_clusters: int) -> None:
    """Two images, one cluster, or a cluster per image give a complete page."""
    report = example_report(n_images, n_clusters)
    text = Page(render_report(report)).all_text()
    assert all(entry.path in text for entry in report.images)


def test_a_single_image_and_no_image_are_shown() -> None:
    """One image has no tree and no map; none at all gives a page that says so."""
    one = example_report(2, 1)
    one = dataclasses.replace(one, images=one.images[:1], linkage=np.empty((0, 4)), descriptors=one.descriptors[:1])
    assert "1 image" in Page(render_report(one)).all_text()
    none = dataclasses.replace(one, images=[], descriptors=one.descriptors[:0])
    assert "No image was clustered" in Page(render_report(none)).all_text()


def test_the_picture_budget_bounds_the_page() -> None:
    """With a small budget fewer pictures are drawn in every cluster, but never none."""
    report = example_report(60, 3)
    budget = 9 * max(len(picture.thumbnail) for picture in report.pictures.values())
    page = Page(render_report(report, max_picture_bytes=budget))
    assert len(page.attributes("button", "data-path")) == 9
    assert len(Page(render_report(report, max_picture_bytes=0)).attributes("button", "data-path")) == 3


def test_a_negative_limit_is_refused() -> None:
    """A limit below zero is a mistake in the configuration."""
    with pytest.raises(ConfigError, match="0 or more"):
        render_report(example_report(), max_drawn_per_cluster=-1)


@pytest.mark.parametrize("words", ["the other images, on average", "the known normal images"])
def test_heat_says_what_it_was_measured_against(words: str) -> None:
    """A reader learns whether a patch is rare among the images themselves or against known normals, and the unit."""
    report = dataclasses.replace(example_report(), compared_with=words, score_unit="standard deviations")
    text = Page(render_report(report)).all_text()
    assert f"from its nearest in {words}" in text
    assert "the rarity of its rarest patch, in standard deviations" in text
