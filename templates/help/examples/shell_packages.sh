flask packages list --group acme
flask packages delete <package_name> 1.0.0 --project acme/tools
flask packages cleanup
flask packages verify
