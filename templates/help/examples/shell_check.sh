pypi-registry packages check dist/*
