JOB=$(curl --silent --show-error --header "PRIVATE-TOKEN: $REGISTRY_TOKEN" \
  --data name=publish --data ref=main --data expires_in=600 \
  {{ at.registry }}/api/v4/projects/{{ at.project_id }}/jobs)
JOB_ID=$(echo "$JOB" \
  | python -c 'import json, sys; answer = json.load(sys.stdin); print(answer.get("id") or sys.exit(answer))')
JOB_TOKEN=$(echo "$JOB" \
  | python -c 'import json, sys; answer = json.load(sys.stdin); print(answer.get("token") or sys.exit(answer))')

TWINE_USERNAME=gitlab-ci-token TWINE_PASSWORD=$JOB_TOKEN \
  python -m twine upload --repository-url {{ at.project }} dist/*

curl --silent --show-error --header "JOB-TOKEN: $JOB_TOKEN" --data status=success \
  {{ at.registry }}/api/v4/projects/{{ at.project_id }}/jobs/$JOB_ID/finish
