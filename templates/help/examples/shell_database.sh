pypi-registry database check
pypi-registry database upgrade
