"""Looks at TensorBoard's page in headless Chromium. Called by tensorboard.sh."""

import argparse
import json
import math
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

# A card with its curves and the rows of its table, once there is a row for each run.
CARD = """([tag, runs]) => {
  const card = [...document.querySelectorAll("scalar-card")].find((card) => card.querySelector(`[title="${tag}"]`));
  if (!card) return null;
  const rows = [...card.querySelectorAll("tb-data-table-content-row")].map((row) => row.innerText.split(/\\s*[\\n\\t]\\s*/).filter(Boolean));
  const curves = [...card.querySelectorAll(".series-view path, .series-view circle")].map((curve) => curve.getAttribute("d") || curve.localName);
  return curves.length && runs.every((run) => rows.some(([name]) => name === run)) ? { rows, curves } : null;
}"""


def check(condition, message):
    if not condition:
        sys.exit(f"FAILED: {message}")


def scalars(page, known):
    """Every scalar has its card, with a curve, and says the last value of each run."""
    search = page.locator("metrics-tag-filter-component input")
    for tag, runs in known.items():
        search.fill(f"^{tag}$")
        card = page.wait_for_function(CARD, arg=[tag, list(runs)], timeout=30_000).json_value()
        for run, (step, value) in runs.items():
            row = next(row for row in card["rows"] if row[0] == run)
            shown = float(row[2].replace(",", ""))
            check(math.isclose(shown, value, rel_tol=1e-3, abs_tol=5e-5), f"{tag} of {run} is {value}, shown as {row[2]}")
            check(int(row[3].replace(",", "")) == step, f"{tag} of {run} ends at step {step}, shown as {row[3]}")
    search.fill("")
    search.press("Escape")
    print(f"{len(known)} scalars are shown with their values")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("scalars", type=Path, help="the last value of each scalar and run")
    parser.add_argument("--shots", type=Path, required=True)
    parser.add_argument("--chromium", required=True)
    arguments = parser.parse_args()
    known = json.loads(arguments.scalars.read_text())
    with sync_playwright() as playwright:
        # Without WebGL, which a headless browser paints no pictures of, charts are drawn as SVG.
        flags = ["--no-sandbox", "--disable-3d-apis"]
        browser = playwright.chromium.launch(executable_path=arguments.chromium, args=flags)
        page = browser.new_page(viewport={"width": 1500, "height": 1100})
        failed = []
        page.on("pageerror", lambda error: failed.append(str(error)))
        page.on("response", lambda answer: answer.ok or failed.append(f"{answer.status} {answer.url}"))
        page.goto(f"{arguments.address}#timeseries")
        page.wait_for_selector("scalar-card")
        scalars(page, known)
        page.wait_for_timeout(2000)
        page.screenshot(path=arguments.shots / "scalars.png")

        page.goto(f"{arguments.address}#images")
        picture = page.locator("tf-image-loader img").first
        picture.wait_for(timeout=20_000)
        page.wait_for_timeout(2000)
        check(picture.evaluate("(image) => image.complete && image.naturalWidth > 500"), "the network is not drawn")
        page.screenshot(path=arguments.shots / "images.png")

        page.goto(f"{arguments.address}#hparams")
        table = page.locator("tf-hparams-table-view")
        table.get_by_text("dataset.use").first.wait_for(timeout=20_000)
        table.get_by_text("found/accuracy").first.wait_for(timeout=20_000)
        page.screenshot(path=arguments.shots / "hparams.png")
        check(not failed, f"the page reports {failed}")
        browser.close()


main()
