pypi-registry packages list --group acme
pypi-registry packages delete <package_name> 1.0.0 --project acme/tools
pypi-registry packages cleanup
pypi-registry packages verify
