"""Opens reports in headless Chromium and looks at them: elements, interactions, console, requests,
load time. Called by report.sh."""

import argparse
import json
import os
import sys
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

WIDTHS = (360, 1280, 2560)
THEMES = ("light", "dark")
PARTS = ["network", "search", "regions", "genealogy", "supernet", "time", "record"]


def check(condition, message):
    if not condition:
        sys.exit(f"FAILED: {message}")


class Watched:
    """A page that must ask for nothing but itself and say nothing in the console."""

    def __init__(self, browser, address, width=1280, theme="light", origin=None, wait_for="#record"):
        self.page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme)
        self.said, self.asked = [], []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.address, self.origin = address, origin or address
        self.page.goto(address)
        self.page.wait_for_selector(wait_for)

    def done(self):
        check(not self.said, f"{self.address}: the console says {self.said}")
        own = (self.origin, "data:", "blob:")
        foreign = [url for url in self.asked if not url.startswith(own)]
        check(not foreign, f"{self.address}: requests leave the page: {foreign}")
        self.page.close()


def look(browser, name, path, shots):
    """Every width and theme: nothing is wider than the screen, and a picture remains."""
    for width in WIDTHS:
        for theme in THEMES:
            watched = Watched(browser, path.as_uri(), width, theme)
            page = watched.page
            page.wait_for_timeout(300)
            wide = page.evaluate("document.documentElement.scrollWidth")
            check(wide <= width, f"{name} is {wide} pixels wide on {width}")
            small = page.evaluate(
                "[...document.querySelectorAll('.figure text, td, dd')].filter((text) => parseFloat(getComputedStyle(text).fontSize) < 10).length"
            )
            check(small == 0, f"{name}: {small} texts are smaller than 10 pixels")
            page.screenshot(path=shots / f"{name}-{width}-{theme}.png", full_page=True)
            watched.done()


# The contrast of each text with the ground that it stands on (WCAG 2.2).
CONTRAST = """() => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
  const rgb = (colour) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data]; };
  const light = (colour) => rgb(colour).slice(0, 3).map((part) => part / 255).map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
  const ground = (element) => { for (; element; element = element.parentElement) { const colour = getComputedStyle(element).backgroundColor; if (rgb(colour)[3] > 250) return colour; } return "white"; };
  const poor = [];
  for (const element of document.querySelectorAll("main *, header *")) {
    if (![...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim())) continue;
    if (["style", "noscript"].includes(element.localName) || !element.getClientRects().length) continue;
    const style = getComputedStyle(element);
    const [one, other] = [light(element.ownerSVGElement ? style.fill : style.color), light(ground(element))].sort((a, b) => b - a);
    const contrast = (one + 0.05) / (other + 0.05);
    if (contrast < 4.5) poor.push(`${element.textContent.slice(0, 30)}: ${contrast.toFixed(2)}`);
  }
  return poor;
}"""


def use(browser, name, path, folder):
    """What a person does with a report of a search on a SuperNet-like estimator in stages."""
    watched = Watched(browser, path.as_uri())
    page = watched.page
    found = json.loads((folder / "result.json").read_text())
    for part in PARTS:
        check(page.locator(f"#{part}").count() == 1, f"{name} has no part {part}")
    check(page.locator(".contents a").count() == len(PARTS), "the contents name every part")
    tile = page.locator(".tile.first dd").inner_text()
    check(tile == f"{found['winner']['objectives']['accuracy']:.4f}", f"the best accuracy is told as {tile}")
    layers = sum(len(block) for block in found["winner"]["blocks"].values())
    drawn = page.locator("#network .layer .box:not(.plain)").count()
    check(drawn == layers, f"{drawn} of {layers} layers are drawn")

    # Hovered and picked with the mouse.
    chart = page.locator("#fitness svg.figure")
    chart.scroll_into_view_if_needed()
    winner = page.locator("#fitness .winner").bounding_box()
    page.mouse.move(winner["x"] + 5, winner["y"] + 5)
    check(page.locator("#tip").is_visible(), "hovering a point shows a tip")
    check("parameters" in page.locator("#tip").inner_text(), "the tip tells the network")
    page.mouse.click(winner["x"] + 5, winner["y"] + 5)
    check(page.locator("#picked").is_visible(), "a point is picked")
    check("you picked" in page.locator("#network-title").inner_text(), "the picked network is drawn")
    page.locator("#picked button").click()
    check(page.locator("#picked").is_hidden(), "the winner is back")

    # And with keys alone.
    chart = page.locator("#fitness svg.figure")
    chart.focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    check(page.locator("#picked").is_visible(), "keys pick a point")
    page.locator("#picked button").click()

    # Time in place of evaluations, and another quantity.
    page.locator("#fitness .switch button", has_text="time").click()
    check("time worked on" in page.locator("#fitness svg").text_content(), "the axis is time")
    page.locator("#trade-offs select").select_option("flops")
    check("flops" in page.locator("#trade-offs svg").text_content(), "the axis is FLOPs")

    # Regions: as many crosses as operations were pruned.
    regions = [stage["region"] for stage in found["stages"]] + [found["final_region"]]
    absent = len(json.loads((folder / "network.json").read_text())["slots"][1]["choices"]) - 1
    pruned = sum(
        len([choice for choice in allowed if choice not in after[slot] and choice != absent])
        for before, after in zip(regions, regions[1:])
        for slot, allowed in enumerate(before)
    )
    crosses = page.locator("#regions .pruned").count()
    check(crosses == pruned > 0, f"{crosses} crosses for {pruned} operations that were pruned")

    # Time: a part of the bar for each row, in a colour and as long as its share.
    bar = page.locator("#time .parts-bar i").evaluate_all(
        "(parts) => parts.map((part) => [part.getBoundingClientRect().width, getComputedStyle(part).backgroundColor])"
    )
    times = [seconds for key, seconds in found["times"].items() if key not in ("total", "lost", "workers_lost") and seconds > 0]
    check(len(bar) == len(times), f"{len(bar)} parts of the bar for {len(times)} parts of the time")
    check(all(colour != "rgba(0, 0, 0, 0)" for _, colour in bar), "a part of the bar has no colour")
    check(abs(max(width for width, _ in bar) / sum(width for width, _ in bar) - max(times) / sum(times)) < 0.05, "the bar has other shares")

    # Tables are sorted, up and down, also with keys.
    head = page.locator("#supernet th button", has_text="time")
    for direction in ("descending", "ascending"):
        head.focus()
        page.keyboard.press("Enter")
        sort = page.locator("#supernet th", has=page.locator("button", has_text="time")).get_attribute("aria-sort")
        check(sort == direction, f"the table is sorted {sort}")

    # Every picture can be saved and stands alone.
    buttons = page.locator("button.save")
    check(buttons.count() >= 6, f"{buttons.count()} pictures can be saved")
    for index in range(buttons.count()):
        with page.expect_download() as waiting:
            buttons.nth(index).click()
        text = Path(waiting.value.path()).read_text()
        check(text.startswith("<svg") and "--ink:#" in text, f"{waiting.value.suggested_filename} is no picture")
        alone = browser.new_page()
        errors = alone.evaluate(
            "(text) => new DOMParser().parseFromString(text, 'image/svg+xml').querySelectorAll('parsererror').length", text
        )
        check(errors == 0, f"{waiting.value.suggested_filename} is no XML")
        alone.close()

    # Light and dark: the switch, and enough contrast in both.
    for _ in THEMES:
        theme = page.evaluate("document.documentElement.dataset.theme")
        poor = page.evaluate(CONTRAST)
        check(not poor, f"too little contrast in {theme}: {poor[:6]}")
        page.locator(".theme").click()
        check(page.evaluate("document.documentElement.dataset.theme") != theme, "the theme is switched")
    watched.done()


def processor_seconds():
    """What this process and all that it started have used of the processor."""
    parents, used = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        process = int(stat.parent.name)
        parents[process], used[process] = int(fields[1]), int(fields[11]) + int(fields[12])

    def is_ours(process):
        while process in parents:
            if process == os.getpid():
                return True
            process = parents[process]
        return False

    return sum(ticks for process, ticks in used.items() if is_ours(process)) / os.sysconf("SC_CLK_TCK")


def load(browser, path, limit):
    """The best of five. Others may work on this machine, so that time on the clock is not all ours: what
    all processes of the browser use of the processor is what opening takes at most where nobody else does."""
    times, used = [], []
    for _ in range(5):
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        begun, before = time.monotonic(), processor_seconds()
        page.goto(path.as_uri())
        page.wait_for_selector("#trade-offs svg.figure")
        page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        times.append(time.monotonic() - begun)
        used.append(processor_seconds() - before)
        count = page.evaluate("run.count")
        page.close()
    shown = [f"{one:.2f} s ({ours:.2f} s of the processor)" for one, ours in zip(times, used)]
    print(f"{count} evaluations, {path.stat().st_size / 1e6:.2f} MB, drawn after {', '.join(shown)}")
    best = min(min(times), min(used))
    check(best < limit, f"it opens in {best:.2f} s, wanted are {limit} s")


def live(browser, address, folder, shots):
    """The page of a server, while the journal grows."""
    journal = folder / "events.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:3]))
    watched = Watched(browser, address, origin=address.rstrip("/"))
    page = watched.page
    before = page.evaluate("run.count")
    with journal.open("a") as file:
        file.write("".join(lines[3:]))
    # The page's policy forbids what wait_for_function does.
    page.locator(".badge.ended").wait_for(timeout=15000)
    check(page.evaluate("run.count") > before, "the page has what is new")
    check("Finished" in page.locator(".badge").inner_text(), "the badge says that it is over")
    page.screenshot(path=shots / "live.png")
    watched.done()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("action", choices=["look", "use", "load", "live"])
    parser.add_argument("what", help="a report, or an address")
    parser.add_argument("--run", type=Path, help="its run directory")
    parser.add_argument("--name", default="report")
    parser.add_argument("--shots", type=Path, required=True)
    parser.add_argument("--chromium", required=True)
    arguments = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=arguments.chromium, args=["--no-sandbox"])
        if arguments.action == "live":
            live(browser, arguments.what, arguments.run, arguments.shots)
        elif arguments.action == "load":
            load(browser, Path(arguments.what), 2.0)
        elif arguments.action == "look":
            look(browser, arguments.name, Path(arguments.what), arguments.shots)
        else:
            use(browser, arguments.name, Path(arguments.what), arguments.run)
        browser.close()


if __name__ == "__main__":
    main()
