pypi-registry users list
pypi-registry users reset-password alice
pypi-registry users confirm-email alice
pypi-registry users block alice
pypi-registry tokens list alice
pypi-registry tokens revoke 1
