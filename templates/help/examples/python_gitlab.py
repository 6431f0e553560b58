import gitlab

gl = gitlab.Gitlab("{{ at.registry }}", private_token="<your_personal_token>")

group = gl.groups.create({"name": "Acme", "path": "acme"})
project = gl.projects.create({"name": "Tools", "path": "tools", "namespace_id": group.id})

token = group.deploytokens.create({"name": "production", "scopes": ["read_package_registry"]})
print(token.username, token.token)

for package in group.packages.list(package_type="pypi", iterator=True):
    print(package.name, package.version)
