pypi-registry trusted-publishers add acme/demo --issuer https://gitlab.com \
  --claim project_path=acme/demo --claim ref_protected=true
pypi-registry trusted-publishers list acme/demo
pypi-registry trusted-readers add --group acme --issuer https://gitlab.com --claim project_path=acme/demo
