curl --header "PRIVATE-TOKEN: $REGISTRY_TOKEN" --header "Content-Type: application/json" \
  --data '{"issuer": "https://gitlab.com", "claims": {"project_path": "acme/demo", "ref_protected": "true"}}' \
  {{ at.registry }}/api/v4/projects/{{ at.project_id }}/trusted_publishers
curl --header "PRIVATE-TOKEN: $REGISTRY_TOKEN" --header "Content-Type: application/json" \
  --data '{"issuer": "https://gitlab.com", "claims": {"project_path": "acme/demo"}}' \
  {{ at.registry }}/api/v4/groups/{{ at.group_id }}/trusted_readers
