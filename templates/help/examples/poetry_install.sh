poetry source add --priority=explicit gitlab {{ at.index("group", "") }}
poetry config http-basic.gitlab __token__ <your_personal_token>
poetry add --source gitlab <package_name>
