flask users create alice --email alice@example.com
flask groups create acme --owner alice
flask projects create acme/tools
flask tokens create alice --name laptop --scope api
flask tokens create --group acme --name production --scope read_package_registry
