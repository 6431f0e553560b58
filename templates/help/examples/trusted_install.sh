set -e  # some CI systems go on after a command that failed
READ_TOKEN=$(curl --silent --show-error \
  --data grant_type=urn:ietf:params:oauth:grant-type:token-exchange \
  --data subject_token_type=urn:ietf:params:oauth:token-type:jwt \
  --data subject_token="$IDENTITY_TOKEN" \
  {{ at.registry }}/api/v4/oidc/token \
  | python3 -c 'import json, sys; answer = json.load(sys.stdin); print(answer.get("access_token") or sys.exit(answer))')
pip install{{ at.trusted }} --index-url {{ at.index("group", password="$READ_TOKEN") }} <package_name>
