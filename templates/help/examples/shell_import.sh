flask packages import <folder> --project acme/tools
flask packages import <index_url> --project acme/tools --package <package_name> --package other==1.0
flask packages import <index_url> --project acme/tools --username <username> --password-stdin < password.txt
