READ_TOKEN=$(curl --fail --silent \
  --data grant_type=urn:ietf:params:oauth:grant-type:token-exchange \
  --data subject_token_type=urn:ietf:params:oauth:token-type:jwt \
  --data subject_token="$IDENTITY_TOKEN" \
  {{ at.registry }}/api/v4/oidc/token | python -c 'import json, sys; print(json.load(sys.stdin)["access_token"])')
pip install{{ at.trusted }} --index-url {{ at.index("group", password="$READ_TOKEN") }} <package_name>
