set -e  # some CI systems go on after a command that failed
TOKEN=$(curl --silent --show-error --data "{\"token\": \"$IDENTITY_TOKEN\"}" \
  {{ at.registry }}/_/oidc/mint-token \
  | python3 -c 'import json, sys; answer = json.load(sys.stdin); print(answer.get("token") or sys.exit(answer))')
UV_PUBLISH_TOKEN=$TOKEN uv publish --publish-url {{ at.project }}
curl --silent --show-error --data "{\"token\": \"$TOKEN\"}" {{ at.registry }}/_/oidc/burn-token
