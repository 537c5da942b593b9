"""The page without a mouse, on a phone, light and dark, and as links."""

import json
from pathlib import Path

import pytest

import cop_zarr
from tests.support.explorer import Explorer

pytestmark = pytest.mark.slow

AXE = Path(cop_zarr.__file__).parent / "explorer/src/node_modules/axe-core/axe.min.js"
EVERYTHING = "lon=11&lat=36&zoom=3.5&like=11.5,48.5&unlike=5.25,30.75&exclude_km=200&box=5,24,16,40"


def test_a_link_shows_what_was_seen(explorer, at):
    explorer.open(at(fragment=f"{EVERYTHING}&components=3,1,2&range=5,95&theme=dark"))
    places, region, picture = explorer.places(), explorer.region(), explorer.picture()
    address = explorer.page.url
    explorer.page.goto("about:blank")
    explorer.open(address)
    assert explorer.places() == places
    assert explorer.region() == region
    assert abs(explorer.picture().astype(int) - picture).mean() < 1
    assert explorer.page.url == address


def test_moving_the_map_changes_the_address_and_back_and_forward_work(explorer, at):
    explorer.open(at(fragment="lon=11&lat=36&zoom=4"))
    explorer.click(11.5, 48.5)
    first = explorer.places()
    explorer.page.mouse.move(700, 300)
    explorer.page.mouse.wheel(0, -300)
    explorer.page.wait_for_function("() => !location.hash.includes('zoom=4&')")
    moved = explorer.fragment
    assert moved["like"] == "11.5,48.5"
    explorer.page.select_option("#metric", "l2")
    explorer.page.wait_for_function("() => location.hash.includes('metric=l2')")
    second = explorer.places()
    assert second != first
    explorer.page.go_back()
    explorer.page.wait_for_function("() => !location.hash.includes('metric=l2')")
    assert explorer.places() == first
    assert explorer.fragment == moved
    explorer.page.go_back()
    explorer.page.locator("#asked li").wait_for(state="detached")
    assert explorer.page.locator("#found li").count() == 0
    explorer.page.go_forward()
    assert explorer.places() == first
    explorer.page.go_forward()
    assert explorer.places() == second
    assert explorer.page.input_value("#metric") == "l2"


def press_until(page, key, focused):
    """Press a key until something has the focus."""
    for _ in range(60):
        if page.evaluate("document.activeElement.id") == focused:
            return
        page.keyboard.press(key)
    raise AssertionError(focused)


def test_everything_can_be_done_with_the_keyboard(explorer, at):
    explorer.open(at(fragment="lon=11.4&lat=48.4&zoom=5"))
    keyboard, page = explorer.page.keyboard, explorer.page

    press_until(page, "Tab", "map")  # the cell in the middle
    keyboard.press("Enter")
    assert explorer.places()[0] == [11.5, 48.5, 1]
    keyboard.press("ArrowRight")
    page.wait_for_function("() => !location.hash.includes('lon=11.4&')")
    assert float(explorer.fragment["lon"]) > 12
    keyboard.press("-")
    page.wait_for_function("() => !location.hash.includes('zoom=5')")

    press_until(page, "Shift+Tab", "typed-lon")  # a place, typed
    keyboard.type("5.3")
    keyboard.press("Tab")
    keyboard.type("30.7")
    keyboard.press("Enter")
    page.wait_for_function("() => location.hash.includes('like=5.25,30.75')")
    assert explorer.places()[0] == [5.25, 30.75, 1]

    press_until(page, "Tab", "metric")
    keyboard.press("ArrowDown")
    page.wait_for_function("() => location.hash.includes('metric=l2')")
    press_until(page, "Tab", "typed-region-text")
    keyboard.type("5 24 16 40")
    keyboard.press("Enter")
    assert explorer.region()["valid_cells"] > 100
    press_until(page, "Tab", "clear-region")
    keyboard.press("Enter")
    page.wait_for_function("() => !location.hash.includes('box')")

    press_until(page, "Shift+Tab", "draw-polygon")
    keyboard.press("Space")
    assert page.get_attribute("#draw-polygon", "aria-pressed") == "true"
    keyboard.press("Escape")
    assert page.get_attribute("#draw-polygon", "aria-pressed") == "false"


MISTAKES = {
    "#typed-lon": ("east", "longitude and a latitude"),
    "#exclude": ("-5", "0 to 20,100 km"),
    "#range-low": ("99", "percentiles"),
}
NO_REGIONS = ["1 2 3", "west", "10 20 5 10 1 1 1", "0 0 1 1 0 1 1 0", "5 40 16 24"]


def test_what_is_typed_wrongly_is_told(explorer, at):
    explorer.open(at())
    explorer.page.fill("#typed-lat", "1")
    for selector, (text, words) in MISTAKES.items():
        explorer.page.fill(selector, text)
        explorer.page.press(selector, "Enter")
        explorer.page.locator("#problem p", has_text=words).wait_for()
    for text in NO_REGIONS:
        explorer.go(f"lon={len(text)}")  # takes errors away
        explorer.page.locator("#problem").wait_for(state="hidden")
        explorer.page.fill("#typed-region-text", text)
        explorer.page.press("#typed-region-text", "Enter")
        assert explorer.problem(), text
        assert not explorer.page.is_visible("#region-answer")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_an_accessibility_check_finds_nothing_serious(browser, at, theme, width):
    if not AXE.exists():
        pytest.skip("needs axe-core: npm ci in cop_zarr/explorer/src")
    with browser.new_context(viewport={"width": width, "height": 740}, bypass_csp=True) as context:
        explorer = Explorer(context).open(at(fragment=f"{EVERYTHING}&theme={theme}"))
        explorer.places()
        explorer.region()
        explorer.page.add_script_tag(path=AXE)
        found = explorer.page.evaluate("axe.run()")
        serious = [
            (violation["id"], [node["target"] for node in violation["nodes"]])
            for violation in found["violations"]
            if violation["impact"] in {"serious", "critical"}
        ]
        assert serious == []
        assert len(found["passes"]) > 20


def test_a_phone_of_360_pixels(browser, at):
    with browser.new_context(
        viewport={"width": 360, "height": 640}, has_touch=True, is_mobile=True, device_scale_factor=2
    ) as context:
        explorer = Explorer(context).open(at(fragment="lon=11&lat=36&zoom=3.5"))
        page = explorer.page
        page.touchscreen.tap(*explorer.position(11.5, 48.5))
        first = explorer.places()[0]
        assert first[2] == 1
        explorer.go(EVERYTHING)
        explorer.places()
        explorer.region()
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        assert page.evaluate("document.querySelector('#panel').scrollWidth <= 360")
        boxes = [button.bounding_box() for button in page.locator("button:visible, select:visible").all()]
        assert all(box["x"] >= 0 and box["x"] + box["width"] <= 360 for box in boxes)
        assert page.locator("#map").bounding_box()["height"] > 250
        assert explorer.errors == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_as_the_system_unless_it_is_chosen(browser, at, scheme):
    other = {"light": "dark", "dark": "light"}[scheme]
    with browser.new_context(color_scheme=scheme) as context:
        explorer = Explorer(context).open(at())

        def paper():
            colour = explorer.page.evaluate("getComputedStyle(document.body).backgroundColor")
            numbers = json.loads(f"[{colour.removeprefix('rgb(').removesuffix(')')}]")
            return "light" if sum(numbers) > 384 else "dark"

        assert paper() == scheme
        explorer.page.select_option("#theme", other)
        assert paper() == other
        assert explorer.fragment["theme"] == other
