pypi-registry packages import <folder> --project acme/tools
pypi-registry packages import <index_url> --project acme/tools --package <package_name> --package other==1.0
pypi-registry packages import <index_url> --project acme/tools --username <username> --password-stdin < password.txt
pypi-registry packages import --from-gitlab <gitlab_url> --project-or-group <gitlab_path> --token-stdin --project acme/tools < token.txt
