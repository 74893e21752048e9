# Sourced by tests of the Python package: the variable `python` is a Python with what it needs, in
# target/python, from PyPI where it is not there.
python=$PWD/target/python/bin/python
if ! "$python" -c 'import pandas, pytest, setuptools, tensorboard' 2>/dev/null; then
  echo "getting pandas, pytest and TensorBoard from PyPI"
  mkdir -p target
  rm -rf target/python
  python3 -m venv target/python
  "$python" -m pip install --quiet --no-cache-dir --disable-pip-version-check 'pandas>=2' 'pytest>=8' 'setuptools>=77' \
    'tensorboard>=2.18'
fi
