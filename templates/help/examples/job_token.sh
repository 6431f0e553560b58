JOB=$(curl --fail --silent --header "PRIVATE-TOKEN: $REGISTRY_TOKEN" \
  --data name=publish --data ref=main --data expires_in=600 \
  {{ at.registry }}/api/v4/projects/{{ at.project_id }}/jobs)
JOB_ID=$(echo "$JOB" | python -c 'import json, sys; print(json.load(sys.stdin)["id"])')
JOB_TOKEN=$(echo "$JOB" | python -c 'import json, sys; print(json.load(sys.stdin)["token"])')

TWINE_USERNAME=gitlab-ci-token TWINE_PASSWORD=$JOB_TOKEN \
  python -m twine upload --repository-url {{ at.project }} dist/*

curl --fail --silent --header "JOB-TOKEN: $JOB_TOKEN" --data status=success \
  {{ at.registry }}/api/v4/projects/{{ at.project_id }}/jobs/$JOB_ID/finish
