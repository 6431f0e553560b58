pypi-registry packages yank <package_name> 1.0.0 --project acme/tools --reason "Loses data"
pypi-registry packages unyank <package_name> 1.0.0 --project acme/tools --file <file_name>
