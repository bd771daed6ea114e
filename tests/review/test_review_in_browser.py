"""A person at the review page: a real browser opens it, looks, names, moves, merges, splits off and undoes."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from helpers.chromium import needs_chromium
from persons import say_name
from playwright.sync_api import Browser, expect
from serving import Served
from watching import Watched

from tasks.stores.catalog.browsing import Chosen

pytestmark = [pytest.mark.slow, needs_chromium]

WIDTHS = ((1280, 900), (390, 844))

_LEFT_ALONE = """(element, key) =>
    element.dispatchEvent(new KeyboardEvent("keydown", { ...key, bubbles: true, cancelable: true }))"""
"""Press a key on an element, and say whether the browser still does with it what it always does."""


def test_from_home_to_an_image(watched: Watched, review: Served) -> None:
    """Home leads to the category, its first row to the new cluster, a picture to its page with heat and neighbours."""
    page = watched.page
    assert "token" not in page.url
    page.get_by_role("link", name="bottle", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("bottle")
    first = page.locator(".row").first
    expect(first.locator(".badge.new")).to_be_visible()
    expect(page.locator(".row").last).to_contain_text("ordinary")
    first.get_by_role("heading").get_by_role("link").click()
    page.get_by_role("button", name="Heat on").click()
    expect(page.locator(".pictures .heat").first).to_be_visible()
    page.locator(".pictures a.caption").first.click()
    expect(page.locator("#viewer .photo")).to_be_visible()
    expect(page.locator(".rarest")).to_be_visible()
    expect(page.locator(".alike li")).to_have_count(12)
    assert page.locator("#viewer .photo").evaluate("image => image.naturalWidth") == 64
    page.get_by_label("rarest patch").uncheck()
    expect(page.locator(".rarest")).to_be_hidden()
    before = page.locator(".sheet").bounding_box()
    page.get_by_role("button", name="Zoom in").click()
    after = page.locator(".sheet").bounding_box()
    assert before is not None
    assert after is not None
    assert after["width"] == pytest.approx(1.25 * before["width"], rel=0.02)
    page.locator("#viewer").press("0")
    page.keyboard.press("Tab")
    title = page.title()
    page.locator("body").press("ArrowRight")
    expect(page).not_to_have_title(title)


def test_name_and_undo(watched: Watched, review: Served) -> None:
    """A rename says what it will do, asks who it is once, stands in the history, and is undone by a click."""
    page = watched.go("/c/bottle/clusters/c2")
    page.get_by_role("button", name="Rename").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("keeps its identity")
    expect(dialog).to_contain_text("can be undone")
    dialog.get_by_label("Name", exact=True).fill("edge chip")
    dialog.get_by_label("Your name, asked once").fill("Kim Ö")
    dialog.get_by_role("button", name="Rename").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("edge chip")
    expect(page.get_by_role("status")).to_contain_text("Kim Ö named c2 edge chip")
    expect(page.get_by_text("You: Kim Ö")).to_be_visible()
    decision = review.reading.catalog.history("bottle", "c2")[-1]
    assert (decision.kind, decision.who) == ("rename", "Kim Ö")
    page.get_by_role("status").get_by_role("button", name="Undo").click()
    expect(page.get_by_role("heading", level=1)).not_to_contain_text("edge chip")
    assert review.reading.catalog.cluster("bottle", "c2").name is None


def test_split_off_a_range_and_move_others(watched: Watched, review: Served) -> None:
    """A range chosen with shift becomes a cluster of its own; others move to a cluster that the dialog lets choose."""
    page = watched.go("/c/bottle/clusters/c2")
    say_name(page, "Kim")
    boxes = page.locator("#choice input[name=image]")
    wanted = [boxes.nth(at).get_attribute("value") for at in range(1, 5)]
    boxes.nth(1).click()
    boxes.nth(4).click(modifiers=["Shift"])
    expect(page.locator(".n-chosen")).to_have_text("4 selected")
    page.get_by_role("button", name="Split off").click()
    expect(page.get_by_role("dialog")).to_contain_text("4 images leave c2 for a new cluster")
    page.get_by_role("dialog").get_by_role("button", name="Split off").click()
    expect(page.get_by_role("status")).to_contain_text("split 4 images off c2 as c6")
    assert set(review.reading.members("bottle", "c6", Chosen())) == set(wanted)
    page.get_by_role("status").get_by_role("link", name="Go to c6").click()
    page.locator("#choice input[name=image]").first.click()
    page.get_by_role("button", name="Move…").click()
    page.get_by_role("dialog").get_by_label("To", exact=True).select_option("c3")
    page.get_by_role("dialog").get_by_role("button", name="Move").click()
    expect(page.get_by_role("status")).to_contain_text("moved 1 image to c3")
    assert len(review.reading.members("bottle", "c6", Chosen())) == 3


def test_a_cluster_starts_with_unknown_images(watched: Watched, review: Served) -> None:
    """Selected on the page of the unknown; the page of the new cluster follows, where it can be undone."""
    page = watched.go("/c/bottle/clusters/unknown")
    say_name(page, "Kim")
    expect(page.get_by_role("button", name="Split off")).to_have_count(0)
    boxes = page.locator("#choice input[name=image]")
    wanted = [boxes.nth(at).get_attribute("value") for at in (0, 2)]
    for at in (0, 2):
        boxes.nth(at).click()
    page.get_by_role("button", name="New cluster").click()
    expect(page.get_by_role("dialog")).to_contain_text("2 images are a new cluster from now on")
    page.get_by_role("dialog").get_by_role("button", name="Start it").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("c6")
    expect(page.get_by_role("status")).to_contain_text("started c6 with 2 images (2 unknown)")
    assert set(review.reading.members("bottle", "c6", Chosen())) == set(wanted)
    page.get_by_role("status").get_by_role("button", name="Undo").click()
    expect(page.get_by_role("status")).to_contain_text("undid decision")
    expect(page.get_by_role("heading", level=1)).to_have_text("bottle")
    expect(page.locator(".done").get_by_role("link")).to_have_count(0)
    watched.go("/c/bottle/clusters/c6")
    expect(page.locator(".cluster-head")).to_contain_text("what made it was undone")
    expect(page.locator(".cluster-head")).not_to_contain_text("can bring it back")
    assert set(wanted) <= set(review.reading.members("bottle", "unknown", Chosen()))


def test_merge_and_undo_from_the_history(watched: Watched, review: Served) -> None:
    """A merge leads to the cluster that has the images now; the history of the category undoes it."""
    n_images = {row.cluster: row.n_images for row in review.reading.state("bottle").rows}
    page = watched.go("/c/bottle/clusters/c4")
    say_name(page, "Kim")
    page.get_by_role("button", name="Merge…").click()
    page.get_by_role("dialog").get_by_label("Into").select_option("c3")
    page.get_by_role("dialog").get_by_role("button", name="Merge").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("c3")
    both = n_images["c3"] + n_images["c4"]
    expect(page.locator(".cluster-head")).to_contain_text(f"{both} images")
    page.get_by_role("link", name="bottle").click()
    expect(page.locator(".row", has_text="c4")).to_have_count(0)
    page.get_by_role("link", name="history").click()
    page.get_by_role("button", name="Undo").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("c4")
    assert review.reading.state("bottle").row("c4") is not None


def test_who_comes_second_is_told(watched: Watched, review: Served) -> None:
    """Somebody else was faster on the same cluster: the page says what changed, and decides only when asked again."""
    page = watched.go("/c/bottle/clusters/c2")
    say_name(page, "Kim")
    review.reading.catalog.rename("bottle", "c2", "scratch", who="Ben")
    watched.faults.clear()
    page.get_by_role("button", name="Rename").click()
    page.get_by_role("dialog").get_by_label("Name", exact=True).fill("edge chip")
    page.get_by_role("dialog").get_by_role("button", name="Rename").click()
    expect(page.get_by_role("alert")).to_contain_text("c2 has changed since you saw it: Ben named c2 scratch")
    assert review.reading.catalog.cluster("bottle", "c2").name == "scratch"
    expect(page.get_by_label("Name", exact=True)).to_have_value("edge chip")
    page.get_by_role("button", name="Rename").click()
    expect(page.get_by_role("status")).to_contain_text("named c2 edge chip")
    # the browser itself notes in its console that the server said no
    watched.faults = [fault for fault in watched.faults if "409" not in fault]


def test_all_of_a_filter_and_pages(watched: Watched, review: Served) -> None:
    """A choice goes over pages; all images of a filter are wrong here with two clicks, those not shown too."""
    page = watched.go("/c/bottle/clusters/c1")
    say_name(page, "Kim")
    page.locator("#choice input[name=image]").first.check()
    page.get_by_role("link", name="Next page").click()
    expect(page.locator(".pages")).to_contain_text("61–")
    page.locator("#choice input[name=image]").first.check()
    expect(page.locator(".n-chosen")).to_have_text("2 selected")
    page.go_back()
    expect(page.locator(".pages")).to_contain_text("1–60")
    page.goto(f"{review.base}/c/bottle/clusters/c1")
    page.get_by_text("Filter", exact=True).click()
    page.get_by_label("line").select_option("3")
    page.get_by_role("button", name="Show").click()
    of_line = review.reading.members("bottle", "c1", Chosen(columns={"line": "3"}))
    page.get_by_role("button", name=f"Select all {len(of_line)}").click()
    page.get_by_role("button", name="Wrong here").click()
    expect(page.get_by_role("dialog")).to_contain_text(f"{len(of_line)} images leave c1")
    page.get_by_role("dialog").get_by_role("button", name="Mark as wrong here").click()
    expect(page.get_by_role("status")).to_contain_text("are wrong in c1")
    assert set(of_line) <= set(review.reading.members("bottle", "unknown", Chosen()))


def test_all_but_one(watched: Watched, review: Served) -> None:
    """One of all is left again: those of other pages stay chosen, and only the others are decided about."""
    page = watched.go("/c/bottle/clusters/c1")
    say_name(page, "Kim")
    everything = review.reading.members("bottle", "c1", Chosen())
    assert len(everything) > 60
    page.get_by_role("button", name=f"Select all {len(everything)}").click()
    page.locator("#choice input[name=image]").first.uncheck()
    expect(page.locator(".n-chosen")).to_have_text(f"{len(everything) - 1} selected")
    page.get_by_role("link", name="Next page").click()
    expect(page.locator(".pages")).to_contain_text("61–")
    expect(page.locator("#choice input[name=image]").first).to_be_checked()
    page.get_by_role("button", name="Wrong here").click()
    expect(page.get_by_role("dialog")).to_contain_text(f"{len(everything) - 1} images leave c1")
    page.get_by_role("dialog").get_by_role("button", name="Mark as wrong here").click()
    expect(page.get_by_role("status")).to_contain_text("are wrong in c1")
    assert list(review.reading.members("bottle", "c1", Chosen())) == [everything[0]]


def test_shortcuts_of_the_browser_are_left_alone(watched: Watched, review: Served) -> None:
    """Keys of the picture and of the map do nothing while Ctrl, Alt or Cmd is held: these are the browser's."""
    image = review.reading.members("bottle", "c2", Chosen())[0]
    page = watched.go(f"/c/bottle/images/{image}")
    sheet, style = page.locator(".sheet"), "element => element.style.transform"
    for modifier in ("ctrlKey", "altKey", "metaKey"):
        assert page.locator("#viewer").evaluate(_LEFT_ALONE, {"key": "+", modifier: True})
    assert "scale(1.25)" not in sheet.evaluate(style)
    assert not page.locator("#viewer").evaluate(_LEFT_ALONE, {"key": "+"})
    assert "scale(1.25)" in sheet.evaluate(style)
    page = watched.go("/c/bottle/map")
    expect(page.locator("#map-told")).to_have_text("240 images.")
    for modifier in ("ctrlKey", "altKey", "metaKey"):
        for key in ("+", "ArrowLeft"):
            assert page.locator("#map").evaluate(_LEFT_ALONE, {"key": key, modifier: True})
    assert not page.locator("#map").evaluate(_LEFT_ALONE, {"key": "+"})


def test_a_column_tells_where_a_cluster_comes_from(watched: Watched) -> None:
    """The table of clusters against a column says in a sentence that one comes from line 3."""
    page = watched.go("/c/bottle")
    page.get_by_text("Clusters against a column").click()
    page.locator(".chips").get_by_role("link", name="line").click()
    expect(page.locator(".verdict")).to_have_text("100 % of c3 have line 3.")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", WIDTHS, ids=lambda size: f"{size[0]} px")
def test_no_serious_fault_of_access_and_nothing_beside_the_window(
    browser: Browser, review: Served, scheme: str, size: tuple[int, int]
) -> None:
    """Every page, light and dark, wide and narrow, passes axe without a serious issue and needs no sideways scroll."""
    image = review.reading.members("bottle", "c2", Chosen())[0]
    paths = ["/", "/c/bottle", "/c/bottle/clusters/c2?heat=1", f"/c/bottle/images/{image}", "/c/bottle/history"]
    paths += ["/c/bottle/clusters/c2/ask/merge", "/c/bottle/columns?column=line", "/c/bottle/map", "/c/bottle/cuts"]
    viewport = {"width": size[0], "height": size[1]}
    with browser.new_context(viewport=viewport, color_scheme=scheme) as context:  # type: ignore[arg-type]
        page = context.new_page()
        page.goto(review.opened)
        for path in paths:
            page.goto(review.base + path)
            page.wait_for_load_state("networkidle")
            found = Axe().run(page).response["violations"]
            serious = [
                (one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in {"serious", "critical"}
            ]
            assert serious == [], path
            assert page.evaluate("document.documentElement.scrollWidth") <= size[0], path


def test_the_page_works_without_scripts(browser: Browser, review: Served) -> None:
    """Without JavaScript links and forms do the same, a page at a time."""
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(review.opened)
        page.goto(f"{review.base}/c/bottle/clusters/c2")
        page.locator("#choice input[name=image]").first.check()
        page.get_by_role("button", name="Split off").click()
        page.get_by_label("Your name, asked once").fill("Kim")
        page.get_by_role("button", name="Split off").click()
        expect(page.get_by_role("status")).to_contain_text("Kim split 1 image off c2 as c6")
