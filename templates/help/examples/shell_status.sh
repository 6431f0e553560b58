pypi-registry packages status <package_name> archived --project acme/tools --reason "Goes on under another name"
pypi-registry packages status <package_name> --project acme/tools
