#!/usr/bin/env bash
# Holds every dependency against deny.toml: licences, sources, versions, and where the database of
# advisories can be fetched (from GitHub) advisories too. Gets cargo-deny from crates.io into
# target/tools. Not a part of run.sh: it needs a network.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tools=$PWD/target/tools
[ -x "$tools/bin/cargo-deny" ] || cargo install --quiet --locked --root "$tools" cargo-deny
export PATH=$tools/bin:$PATH

cargo deny --all-features check licenses sources bans
if timeout 120 cargo deny fetch db >/dev/null 2>&1; then
  cargo deny check advisories
else
  echo "SKIPPED: the database of advisories cannot be fetched from here"
fi
