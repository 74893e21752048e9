#!/usr/bin/env bash
# What only a machine with a CUDA GPU can show: that CUDA computes what the CPU does, how fast the SuperNet
# is there beside PyTorch, and the default search. Not a part of run.sh.
#
#   bash tests/cuda.sh                    builds, and does all of it here
#   bash tests/cuda.sh pack FOLDER        puts into FOLDER what a machine without Rust needs (55 MB)
#   bash FOLDER/cuda.sh PART...           does parts of it there: tests, bench, kernels, rank, search
#
# The machine needs a Python with torch 2.11 (PYTHON, python3), whose libraries are used. `rank` and `search` need
# examples/setup/cifar10.sh's folder as data/cifar10, `rank` the table as data/nas-bench-macro_cifar10.json, `kernels`
# CuPy. Each part writes FOLDER/figures/PART.txt; `search` goes on with a search that was ended, and SECONDS_EACH (540) ends
# each part, so that they fit where a command may not take longer.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# The program that cargo makes of a target, from its own account.
made() {
  cargo "$@" --message-format=json | python3 -c '
import json, sys
made = [json.loads(line) for line in sys.stdin]
print([it["executable"] for it in made if it.get("executable") and it["target"]["name"] in ("pleach_supernet", "supernet")][-1])'
}

pack() {
  local folder
  mkdir -p "$1/bin" "$1/benches" "$1/src/tests" "$1/examples"
  folder=$(cd "$1" && pwd)
  cd "$here/.."
  bash examples/setup/build.sh
  cp target/release/pleach target/release/libpleach_{baselines,datasets,gevonas,supernet,tabular}.so "$folder/bin/"
  cp "$(made test --release -p pleach-supernet --lib --no-run)" "$folder/bin/tests"
  cp "$(made bench -p pleach-supernet --bench supernet --no-run)" "$folder/bin/bench"
  strip "$folder"/bin/*
  # Laid out as in the checkout: peer.py looks for the other one there.
  cp plugins/supernet/benches/*.py "$folder/benches/"
  cp plugins/supernet/src/tests/pytorch.py "$folder/src/tests/"
  cp examples/gevonas-cifar10.yaml examples/ablations-nas-bench-macro.yaml "$folder/examples/"
  cp tests/cuda.sh "$folder/"
  du -sh "$folder"
}

python=${PYTHON:-python3}

# A program of ours, with the libraries of Python's torch.
ours() { LD_LIBRARY_PATH=$libraries timeout "$seconds" "$@"; }

# Each test in a process of its own, for they take minutes one after the other.
tests() {
  export LD_LIBRARY_PATH=$libraries PLEACH_TEST_CUDA=1
  local names
  names=$(bin/tests cuda --list | sed -n 's/: test$//p')
  timeout "$seconds" xargs -P 8 -I {} sh -c \
    'if output=$(bin/tests --exact {} 2>&1); then echo "{}: ok"; else echo "$output"; exit 1; fi' <<< "$names"
}

bench() {
  ours bin/bench --device cuda --precision mixed --layers 20 --scale 2 --sampling strictly-fair --streams 1,2,4,7 \
    --steps 10 --children 12 --evaluate 2000 --recalibrate 1000 --peer figures/peer.json || return
  # Each chooses algorithms for minutes.
  local which status=0
  for which in tuned default; do
    timeout "$seconds" "$python" benches/peer.py figures/peer.json --device cuda --steps 8 --children 4 \
      --only "$which" || status=1
  done
  return "$status"
}

kernels() { timeout "$seconds" "$python" benches/cuda_kernels.py; }

# The SuperNet's ranking of 100 networks of NAS-Bench-Macro at full width, after short trainings.
rank() {
  ours bin/pleach rank examples/ablations-nas-bench-macro.yaml --dir figures/rank --set rank.networks=100 \
    --set 'strategy.with.epochs={first: 8, later: 8}'
}

search() {
  if [ -d figures/search ]; then
    ours bin/pleach resume figures/search
  else
    ours bin/pleach run examples/gevonas-cifar10.yaml --dir figures/search
  fi
}

parts() {
  seconds=${SECONDS_EACH:-540}
  mkdir -p figures
  libraries=$("$python" -c '
import pathlib, torch
torch = pathlib.Path(torch.__file__).parent
print(":".join(map(str, [torch / "lib", *torch.parent.glob("nvidia/*/lib")])))')
  "$python" -c '
import sys, torch
if not torch.__version__.startswith("2.11."):
    sys.exit(f"torch is {torch.__version__}, and 2.11 is needed")
if not torch.cuda.is_available():
    sys.exit("torch finds no CUDA device")
print("torch", torch.__version__, torch.cuda.get_device_name())'
  local failed=0 begun
  for part in "$@"; do
    begun=$SECONDS
    echo "== $part"
    "$part" 2>&1 | tee -a "figures/$part.txt" || failed=1
    echo "== $part: $((SECONDS - begun)) s"
  done
  return "$failed"
}

case "${1:-}" in
  "")
    folder=$here/../target/cuda
    pack "$folder"
    [ -e "$folder/data" ] || ln -s "$here/../data" "$folder/data"
    exec bash "$folder/cuda.sh" tests bench search ;;
  pack) pack "${2:?a folder}" ;;
  tests | bench | kernels | rank | search) cd "$here" && parts "$@" ;;
  *) sed -n '2,/^set/{s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
