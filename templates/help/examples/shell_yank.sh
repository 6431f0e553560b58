flask packages yank <package_name> 1.0.0 --project acme/tools --reason "Loses data"
flask packages unyank <package_name> 1.0.0 --project acme/tools --file <file_name>
