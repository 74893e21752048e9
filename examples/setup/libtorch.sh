#!/usr/bin/env bash
# Puts libtorch 2.11.0 from PyPI under .libtorch/ of this checkout.
# Without arguments the part that the CPU needs (about 500 MB); with --cuda everything (5 GB).
# Does nothing where it is there already.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

variant=cpu
case "${1:-}" in
  "") ;;
  --cuda) variant=cuda ;;
  *) echo "usage: $0 [--cuda]" >&2; exit 2 ;;
esac

stamp=.libtorch/pleach-stamp
want="torch 2.11.0 $variant"
have=$(cat "$stamp" 2>/dev/null || true)
if [ "$have" = "$want" ] || [ "$have" = "torch 2.11.0 cuda" ]; then
  echo "libtorch is there: $have"
  exit 0
fi
if ! python3 -m pip --version >/dev/null 2>&1; then
  echo "libtorch comes from PyPI: install Python 3 with pip (Debian: apt-get install python3-pip)" >&2
  exit 2
fi

part=.libtorch.part
rm -rf "$part"
mkdir -p "$part/wheels"
trap 'rm -rf "$part"' EXIT
# The wheels are only unpacked, so any Python will do.
platform=(--only-binary=:all: --python-version 3.11 --implementation cp --abi cp311
  --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 --platform manylinux_2_25_x86_64
  --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64)
echo "getting $want from PyPI"
if [ "$variant" = cpu ]; then
  # The wheel is linked against two small NVIDIA libraries even where there is no GPU.
  python3 -m pip download -q --no-deps "${platform[@]}" -d "$part/wheels" \
    torch==2.11.0 nvidia-cuda-runtime==13.0.96 nvidia-cuda-cupti==13.0.85
else
  python3 -m pip download -q "${platform[@]}" --platform linux_x86_64 -d "$part/wheels" torch==2.11.0
fi

echo "unpacking"
python3 - "$part" "$variant" <<'PYTHON'
import pathlib, sys, zipfile

part, variant = pathlib.Path(sys.argv[1]), sys.argv[2]
CPU_LIBRARIES = ("libc10.so", "libtorch.so", "libtorch_cpu.so", "libgomp", "libcudart.so", "libcupti.so")


def wanted(name: str) -> bool:
    if name.startswith("torch/include/"):
        return True
    path = pathlib.PurePosixPath(name)
    if path.parent.name != "lib" or path.parts[0] not in ("torch", "nvidia"):
        return False
    return variant == "cuda" or path.name.startswith(CPU_LIBRARIES)


for wheel in sorted((part / "wheels").glob("*.whl")):
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if wanted(name):
                archive.extract(name, part)
PYTHON
rm -rf "$part/wheels"
for library in torch/lib/libtorch_cpu.so torch/lib/libc10.so torch/include/torch/csrc/api/include/torch/torch.h; do
  if [ ! -e "$part/$library" ]; then
    echo "the wheel has no $library: libtorch is not usable" >&2
    exit 3
  fi
done
echo "$want" > "$part/pleach-stamp"
rm -rf .libtorch
mv "$part" .libtorch
trap - EXIT
echo "libtorch is in .libtorch: $want"
