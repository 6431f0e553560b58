TOKEN=$(curl --fail --silent --data "{\"token\": \"$IDENTITY_TOKEN\"}" \
  {{ at.registry }}/_/oidc/mint-token | python -c 'import json, sys; print(json.load(sys.stdin)["token"])')
UV_PUBLISH_TOKEN=$TOKEN uv publish --publish-url {{ at.project }}
curl --silent --data "{\"token\": \"$TOKEN\"}" {{ at.registry }}/_/oidc/burn-token
