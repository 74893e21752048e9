# Sourced by tests that look at pages: `chromium` is the browser (CHROMIUM says which), `playwright` a
# Python that drives it, in target/report-venv, from PyPI where it is not there.
chromium=${CHROMIUM:-$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)}
[ -n "$chromium" ] || { echo "missing: Chromium (apt-get install chromium)" >&2; exit 2; }
playwright=$PWD/target/report-venv/bin/python
if ! "$playwright" -c 'import playwright' 2>/dev/null; then
  echo "getting Playwright from PyPI"
  mkdir -p target
  python3 -m venv target/report-venv
  "$playwright" -m pip install --quiet --disable-pip-version-check playwright
fi
