"""What a person does at the review page: dialogs, selections, a lasso, the slider."""

from __future__ import annotations

import math

from playwright.sync_api import Locator, Page, expect


def say_name(page: Page, name: str) -> None:
    """Say who uses this browser."""
    page.get_by_text("Who are you?").click()
    page.get_by_label("Your name, as the history shows it").fill(name)
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text(f"You: {name}")).to_be_visible()


def decide(page: Page, button: str, *, confirm: str | None = None, fill: str = "", choose: str = "") -> None:
    """Press a button, give what its dialog asks for, and let it do what it says.

    Parameters
    ----------
    page
        With the button.
    button
        Its text.
    confirm
        Text of the dialog's button, if it is another one.
    fill, choose
        What is written into the dialog's only field, or chosen in it.
    """
    page.get_by_role("button", name=button, exact=True).click()
    answer(page, confirm or button, fill=fill, choose=choose)


def answer(page: Page, confirm: str, *, fill: str = "", choose: str = "") -> None:
    """Give what an open dialog asks for, and let it do what it says; see `decide`."""
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("can be undone")
    if fill:
        dialog.get_by_role("textbox").fill(fill)
    if choose:
        dialog.get_by_role("combobox").select_option(choose)
    with page.expect_navigation():
        dialog.get_by_role("button", name=confirm, exact=True).click()
    expect(page.locator(".done")).to_be_visible()


def undo(page: Page) -> None:
    """Take back what the page has just done."""
    with page.expect_navigation():
        page.locator(".done").get_by_role("button", name="Undo").click()
    expect(page.locator(".done")).to_contain_text("undid")


def select_range(page: Page, first: int, last: int) -> list[str]:
    """Select images of a cluster's page, from one to another with shift; gives their contents."""
    boxes = page.locator("#choice input[name=image]")
    boxes.nth(first).click()
    boxes.nth(last).click(modifiers=["Shift"])
    expect(page.locator(".n-chosen")).to_have_text(f"{last - first + 1} selected")
    return [str(boxes.nth(at).get_attribute("value")) for at in range(first, last + 1)]


def choose_on_map(page: Page, group: str, cluster: str) -> list[str]:
    """Draw a lasso around the middle of the map, with one colour shown; gives those of one cluster that are inside."""
    expect(page.locator("#map-groups button", has_text=group)).to_be_visible()
    for button in page.locator("#map-groups button").all():
        if group not in button.inner_text():
            button.click()
    draw_lasso(page, 0.499)
    images = chosen_of(page, cluster).locator("input[name=images]")
    return images.input_value().split()


def chosen_of(page: Page, cluster: str) -> Locator:
    """What is chosen on the map of one cluster, with the buttons."""
    return page.locator("#map-chosen .chosen").filter(has=page.locator(f'h3 a[href$="/clusters/{cluster}"]'))


def draw_lasso(page: Page, part: float = 0.48) -> None:
    """Draw a circle around the middle of the map."""
    box = page.locator("#map").bounding_box()
    assert box is not None
    across, down = box["width"] * part, box["height"] * part
    left, top = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.get_by_role("button", name="Lasso").click()
    page.mouse.move(left - across, top)
    page.mouse.down()
    for step in range(25):
        angle = math.pi + step / 24 * 2 * math.pi
        page.mouse.move(left + across * math.cos(angle), top + down * math.sin(angle))
    page.mouse.up()
