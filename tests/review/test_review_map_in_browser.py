"""A person at the map and at the slider, in a real browser."""

from __future__ import annotations

import pytest
from helpers.chromium import needs_chromium
from persons import draw_lasso
from playwright.sync_api import expect
from serving import Served
from watching import Watched

from tasks.stores.catalog.browsing import Chosen

pytestmark = [pytest.mark.slow, needs_chromium]


def test_a_lasso_chooses_images_and_they_are_split_off(watched: Watched, review: Served) -> None:
    """What is inside the line is shown by cluster; the actions of the cluster's page are there."""
    page = watched.go("/c/bottle/map")
    expect(page.locator("#map-told")).to_have_text("240 images.")
    expect(page.locator("#map-groups button")).to_have_count(6)
    for name in ("c1", "c3", "c4", "c5", "unknown"):  # only c2 stays to be chosen
        page.locator("#map-groups button", has_text=name).click()
    draw_lasso(page, 0.499)
    chosen = page.locator("#map-chosen .chosen")
    expect(chosen).to_have_count(1)
    expect(chosen).to_contain_text("c2")
    before = len(review.reading.catalog.clusters("bottle"))
    page.get_by_role("button", name="Move…").click()
    expect(page.locator("#dialog")).to_contain_text("c2")
    page.locator("#dialog select").select_option("c3")
    if page.locator("#dialog").get_by_label("Your name").count():
        page.locator("#dialog").get_by_label("Your name").fill("Kim")
    page.locator("#dialog button[type=submit]").click()
    expect(page.locator(".done")).to_be_visible()
    assert review.reading.catalog.history("bottle")[-1].kind == "move"
    assert len(review.reading.catalog.clusters("bottle")) == before


def test_a_lasso_around_several_clusters_starts_one(watched: Watched, review: Served) -> None:
    """One button makes a cluster of all that was chosen, whatever clusters it is in."""
    page = watched.go("/c/bottle/map")
    expect(page.locator("#map-told")).to_have_text("240 images.")
    draw_lasso(page, 0.499)
    expect(page.locator("#map-chosen .swatch")).not_to_have_count(1)
    page.get_by_role("button", name="New cluster of all").click()
    expect(page.locator("#dialog")).to_contain_text("are a new cluster from now on")
    if page.locator("#dialog").get_by_label("Your name").count():
        page.locator("#dialog").get_by_label("Your name").fill("Kim")
    page.locator("#dialog button[type=submit]").click()
    expect(page.locator(".done")).to_be_visible()
    started = review.reading.catalog.history("bottle")[-1]
    assert started.after["started"]
    assert len(started.after["from"]) > 1
    assert len(review.reading.members("bottle", started.cluster, Chosen())) == len(started.after["contents"])


def test_the_map_by_keys_alone(watched: Watched) -> None:
    """Arrows go from image to image, space chooses, enter opens."""
    page = watched.go("/c/bottle/map")
    expect(page.locator("#map-told")).to_have_text("240 images.")
    page.locator("#map").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#map-hover")).to_be_visible()
    page.keyboard.press(" ")
    expect(page.locator("#map-chosen h2")).to_have_text("1 image chosen")
    page.keyboard.press("Escape")
    expect(page.locator("#map-chosen")).to_contain_text("No image is chosen.")
    page.keyboard.press("Enter")
    page.wait_for_url("**/images/*")


def test_the_slider_makes_the_groups_of_every_cut(watched: Watched) -> None:
    """The suggested number is marked; every other one is shown at once, with its purity."""
    page = watched.go("/c/bottle/cuts")
    rows = page.locator("#cut-groups .row")
    expect(rows).to_have_count(6)
    expect(page.locator("#cut-told")).to_contain_text("as many as suggested. Purity")
    page.locator("#cut").focus()
    page.keyboard.press("End")
    expect(rows).to_have_count(60)
    page.keyboard.press("Home")
    expect(rows).to_have_count(2)
    page.get_by_role("button", name="Suggested: 6").click()
    expect(rows).to_have_count(6)


def test_a_cut_is_used_and_taken_back(watched: Watched, review: Served) -> None:
    """The button says what the cut will do; afterwards the category shows it, with a button that undoes it."""
    page = watched.go("/c/bottle/cuts")
    expect(page.locator("#cut-groups .row")).to_have_count(6)
    before = review.reading.catalog.partition("bottle")
    page.locator("#cut").fill("4")
    page.get_by_role("button", name="Use this cut…").click()
    dialog = page.locator("#dialog")
    expect(dialog).to_contain_text("become 4 clusters")
    dialog.get_by_label("Your name").fill("Kim")
    dialog.get_by_role("button", name="Use this cut").click()
    expect(page.locator(".done")).to_contain_text("Kim cut all images into 4 groups")
    assert len(set(review.reading.catalog.partition("bottle").values())) == 4
    page.locator(".done").get_by_role("button", name="Undo").click()
    expect(page.locator(".done")).to_contain_text("Kim undid")
    assert review.reading.catalog.partition("bottle") == before
