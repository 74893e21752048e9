"""Follows every link of a site of mdBook and looks at its pages in headless Chromium. Called by site.sh."""

import argparse
import functools
import html.parser
import http.server
import sys
import threading
import urllib.parse
from pathlib import Path

from playwright.sync_api import sync_playwright

from report import WIDTHS, Watched, check

# Looked at in every width.
SHOWN = ("index", "start", "journeys", "concepts", "components", "measurements", "scaling", "limits", "plugin-guide")


class Links(html.parser.HTMLParser):
    """What a page points at, and what in it can be pointed at."""

    def __init__(self, text):
        super().__init__()
        self.targets, self.names = [], {""}
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name in ("href", "src") and value:
                self.targets.append((tag, value))
            if name in ("id", "name") and value:
                self.names.add(value)


def follow(site):
    """Every link inside the site leads to a file and, where it names one, to a place in it; nothing that a
    page is made of lies elsewhere."""
    pages = {page: Links(page.read_text()) for page in sorted(site.rglob("*.html"))}
    broken, count = [], 0
    for page, links in pages.items():
        for tag, target in links.targets:
            url = urllib.parse.urlsplit(target)
            if url.scheme or url.netloc:
                if tag != "a" and url.scheme != "data":
                    broken.append(f"{page}: {target} lies elsewhere")
                continue
            count += 1
            path = urllib.parse.unquote(url.path)
            # The page of missing pages is read at any address.
            base = site if page.name == "404.html" else page.parent
            file = (site / path.lstrip("/") if path.startswith("/") else base / path).resolve() if path else page.resolve()
            file = file / "index.html" if file.is_dir() else file
            if not file.is_file():
                broken.append(f"{page}: {target} is not there")
            elif file.suffix == ".html" and urllib.parse.unquote(url.fragment) not in pages[file].names:
                broken.append(f"{page}: {target} names no place")
    check(not broken, "\n".join(broken))
    check(count > 500, f"{count} links in {len(pages)} pages")
    print(f"{len(pages)} pages, {count} links inside, none broken")
    return [page for page in pages if page.name not in ("404.html", "toc.html")]


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def serve(site):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/"


def look(browser, address, page, width, shots):
    watched = Watched(browser, address + page, width, origin=address, wait_for="main h1")
    wide = watched.page.evaluate("document.documentElement.scrollWidth")
    check(wide <= width, f"{page} is {wide} pixels wide on {width}")
    missing = watched.page.evaluate("[...document.images].filter((image) => !image.naturalWidth).map((image) => image.src)")
    check(not missing, f"{page}: pictures are not shown: {missing}")
    if shots:
        watched.page.screenshot(path=shots / f"{page.replace('/', '-').removesuffix('.html')}-{width}.png")
    watched.done()


def find(browser, address):
    """The search finds a page by a word of it."""
    watched = Watched(browser, address, origin=address, wait_for="main h1")
    watched.page.keyboard.press("s")
    watched.page.wait_for_selector("#mdbook-searchbar")
    watched.page.keyboard.type("hyperband")
    watched.page.wait_for_selector("#mdbook-searchresults a")
    found = watched.page.locator("#mdbook-searchresults a").first.get_attribute("href")
    check("components" in found or "hyperband" in found, f"hyperband is found in {found}")
    watched.done()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("site", type=lambda path: Path(path).resolve())
    parser.add_argument("--shots", type=Path, required=True)
    parser.add_argument("--chromium", required=True)
    arguments = parser.parse_args()
    pages = [str(page.relative_to(arguments.site)) for page in follow(arguments.site)]
    address = serve(arguments.site)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=arguments.chromium, args=["--no-sandbox"])
        for page in pages:
            shown = page.removesuffix(".html") in SHOWN
            for width in WIDTHS if shown else WIDTHS[:1]:
                look(browser, address, page, width, arguments.shots if shown else None)
        find(browser, address)
        browser.close()
    print(f"{len(pages)} pages looked at, {len(SHOWN)} of them in {len(WIDTHS)} widths: pictures are in {arguments.shots}")


if __name__ == "__main__":
    sys.exit(main())
