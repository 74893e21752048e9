#!/usr/bin/env bash
# Builds the documentation as a site in target/site, follows every link in it, and opens every page in
# headless Chromium: nothing in the console, no request that leaves the site, nothing wider than the
# screen. Pictures at 360, 1280 and 2560 pixels are left in target/site-pictures. Not a part of run.sh:
# it takes a browser.
#
# mdBook is built from crates.io into target/tools. CHROMIUM is the browser; Playwright is fetched from
# PyPI into target/report-venv.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

mdbook=0.5.4
if [ "$(target/tools/bin/mdbook --version 2>/dev/null)" != "mdbook v$mdbook" ]; then
  cargo install --locked "mdbook@$mdbook" --no-default-features --features search --root target/tools
fi
rm -rf target/site
log=$(target/tools/bin/mdbook build docs 2>&1) || { echo "$log" >&2; exit 1; }
if grep -E 'WARN|ERROR' <<<"$log" >&2; then
  echo "the book is not whole" >&2
  exit 1
fi
source tests/chromium.sh
mkdir -p target/site-pictures
"$playwright" tests/site_pages.py target/site --shots target/site-pictures --chromium "$chromium"
