#!/usr/bin/env bash
# Regularized evolution on the table of NAS-Bench-201, 500 evaluations: pleach beside Syne Tune and
# beside a plain Python loop, in CPU seconds. Gets Syne Tune 0.16.0 from PyPI into target/syne-tune
# where it is not there.
#
#   bash tests/python_peer.sh [TABLE.csv.gz]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

table=${1:-data/nas-bench-201.csv.gz}
python=$PWD/target/syne-tune/bin/python
if ! "$python" -c 'import syne_tune, huggingface_hub' 2>/dev/null; then
  echo "getting Syne Tune 0.16.0 from PyPI"
  mkdir -p target
  rm -rf target/syne-tune
  python3 -m venv target/syne-tune
  "$python" -m pip install --quiet --no-cache-dir --disable-pip-version-check \
    syne-tune==0.16.0 huggingface_hub pandas numpy
fi
cargo build --quiet --release -p pleach -p pleach-baselines -p pleach-gevonas -p pleach-tabular

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export SYNETUNE_FOLDER=$folder/syne-tune
"$python" tests/python_peer.py "$table" 5
searches=200
for count in 1 $searches; do
  TIMEFORMAT="pleach compare, $count searches of 500 evaluations: %U s of CPU, %S s in the system, %R s"
  time target/release/pleach compare examples/bench-table.yaml --jobs 1 --seeds "$count" \
    --variant 'regularized evolution' --set estimator.with.table="$table" --dir "$folder/$count" >/dev/null
done
TIMEFORMAT="pleach run, 500 evaluations with its run directory: %U s of CPU, %S s in the system, %R s"
time target/release/pleach run examples/bench-table.yaml --json --dir "$folder/run" \
  --set estimator.with.table="$table" \
  --set 'strategy={use: baselines/regularized-evolution, with: {epochs: 0, evaluations: 500, batch: 1}}' >/dev/null
