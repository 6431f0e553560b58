pip install{{ at.trusted }} --index-url {{ at.index("group", "<deploy_token_username>", "<deploy_token>") }} <package_name>
