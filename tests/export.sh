#!/usr/bin/env bash
# Exports random networks of every space that pleach ships, and of descriptions that have every
# primitive, and runs them in ONNX Runtime, PyTorch and TorchScript: at least 20 of each, with the
# largest difference printed. Then goes from a finished run to predictions in three commands.
# Gets PyTorch, ONNX and ONNX Runtime from PyPI into target/pytorch where they are not there (5 GB).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

source tests/pytorch_venv.sh
# One by one, as tests/run.sh does: packages that are built together have other features.
cargo build --quiet -p pleach
cargo test --quiet --no-run -p pleach-tests --test training
cargo build --quiet -p pleach-supernet
pleach=(target/debug/pleach --plugin-dir target/debug/deps --plugin-dir target/debug)
pleach() { "${pleach[@]}" "$@"; }
folder=$(mktemp -d "${TMPDIR:-/tmp}/pleach-export.XXXXXX")
trap 'rm -rf "$folder"' EXIT

# Weights need not be good: one epoch, of small images, gives every one of them a value of its own.
searched() { # name, space
  cat > "$folder/$1.yaml" <<YAML
name: $1
seed: 1
plugins: [gevonas, tabular, datasets, baselines, supernet]
space: $2
dataset: { use: datasets/synthetic, with: { size: 16, train: 96, test: 16, classes: 4 } }
estimator: { use: tabular/nk-landscape }
strategy: { use: baselines/random-search, with: { evaluations: 1 } }
objectives: { accuracy: maximise }
random_networks: 0
train:
  estimator:
    use: supernet/stand-alone
    with: { device: cpu, threads: 1, epochs: 1, batch: 32, learning_rate: 0.1, held_out: 0, measure: test, auxiliary: 0 }
YAML
  pleach run "$folder/$1.yaml" --dir "$folder/$1" > "$folder/log" 2>&1 || { cat "$folder/log"; exit 1; }
}
blocks='{ layers: 2, channels: 8, stride: 1 }, { layers: 3, channels: 16, stride: 2 }'
stem='{ channels: 8, stride: 1 }'
searched growing-blocks "{ use: gevonas/growing-blocks, with: { stem: $stem, blocks: [$blocks], head: 32,
  operations: [identity, mb1_k3, mb3_k3, mb3_k5_se, mb6_k7], activation: hard-swish } }"
searched nas-bench-macro "{ use: gevonas/growing-blocks, with: { stem: $stem, projection: true, head: 32,
  blocks: [{ layers: 2, channels: 8, stride: 2 }, { layers: 3, channels: 16, stride: 2 }, { layers: 3, channels: 24, stride: 2 }],
  operations: [identity, mb3_k3, mb6_k5] } }"
searched nas-bench-201 "{ use: tabular/nas-bench-201, with: { channels: 4, cells: 1 } }"
for space in growing-blocks nas-bench-macro nas-bench-201; do
  seq 20 | xargs -P "$(nproc)" -I SEED "${pleach[@]}" train "$folder/$space" --random SEED > "$folder/log" 2>&1 ||
    { cat "$folder/log"; exit 1; }
done
"$python" tests/export.py "$folder"/{growing-blocks,nas-bench-macro,nas-bench-201}

echo "every primitive"
PLEACH_TEST_EXPORT=$folder/descriptions cargo test --quiet -p pleach-supernet torchscript > "$folder/log" || { cat "$folder/log"; exit 1; }
printf '%s\0' "$folder"/descriptions/* | xargs -0 -P "$(nproc)" -n 1 "${pleach[@]}" export > "$folder/log" 2>&1 ||
  { cat "$folder/log"; exit 1; }
"$python" tests/export.py "$folder/descriptions"

echo "from a finished run to predictions"
"$python" - "$folder/image.png" <<'PYTHON'
import sys

from PIL import Image

Image.radial_gradient("L").convert("RGB").resize((40, 30)).save(sys.argv[1])
PYTHON
pleach train "$folder/growing-blocks" > "$folder/log"
"$python" "$folder/growing-blocks/training/export/model.py" "$folder/image.png" | tee "$folder/pytorch"
"$python" "$folder/growing-blocks/training/export/predict_onnx.py" "$folder/image.png" | tee "$folder/onnx"
# The same classes; the last digit of a percentage may be rounded to another one.
diff <(sed 's/ [0-9.]*%//g' "$folder/pytorch") <(sed 's/ [0-9.]*%//g' "$folder/onnx")

echo "a PyTorch module that is wrong is refused, and its export taken away"
printf '#!/bin/sh\nsed -i "s/nn.Hardswish/nn.ReLU/" "$1" && exec "%s" "$@"\n' "$python" > "$folder/wrong-python"
chmod +x "$folder/wrong-python"
pleach export "$folder/growing-blocks/training" --to "$folder/x" --python "$python" | grep "run and compared"
code=0
pleach export "$folder/growing-blocks/training" --to "$folder/y" --python "$folder/wrong-python" 2> "$folder/log" || code=$?
grep "does not compute what was trained" "$folder/log"
if [ "$code" != 3 ] || [ -e "$folder/y" ] || [ -e "$folder/y.partial" ]; then
  echo "exit code $code, or something is left" >&2
  exit 1
fi
