python -m pip install build twine
python -m build
