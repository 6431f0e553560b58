curl --request PUT --header "PRIVATE-TOKEN: <your_personal_token>" \
  --data status=archived --data-urlencode "reason=Goes on under another name" \
  {{ at.registry }}/api/v4/projects/{{ at.project_id }}/packages/names/<package_name>/status
