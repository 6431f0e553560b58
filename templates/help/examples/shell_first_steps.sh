pypi-registry users create alice --email alice@example.com
pypi-registry groups create acme --owner alice
pypi-registry projects create acme/tools
pypi-registry tokens create alice --name laptop --scope api
pypi-registry tokens create --group acme --name production --scope read_package_registry
