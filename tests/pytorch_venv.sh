# Sourced by tests that hold pleach against Python's libraries: the variable `python` is a Python
# with PyTorch 2.11.0 and what reads exported networks, in target/pytorch (5 GB, from PyPI).
python=$PWD/target/pytorch/bin/python
if ! "$python" -c 'import torch; assert torch.__version__.startswith("2.11.0")' 2>/dev/null; then
  echo "getting PyTorch 2.11.0 from PyPI"
  mkdir -p target
  rm -rf target/pytorch
  python3 -m venv target/pytorch
  "$python" -m pip install --quiet --no-cache-dir --disable-pip-version-check torch==2.11.0 numpy
fi
if ! "$python" -c 'import onnx, onnxruntime, safetensors, PIL, pandas, pytest' 2>/dev/null; then
  echo "getting ONNX, ONNX Runtime, safetensors, Pillow, pandas and pytest from PyPI"
  "$python" -m pip install --quiet --no-cache-dir --disable-pip-version-check onnx onnxruntime safetensors pillow \
    'pandas>=2' 'pytest>=8'
fi
