curl --request PUT --header "PRIVATE-TOKEN: <your_personal_token>" --data-urlencode "reason=Loses data" \
  {{ at.registry }}/api/v4/projects/{{ at.project_id }}/packages/<package_id>/yank
curl --request DELETE --header "PRIVATE-TOKEN: <your_personal_token>" \
  {{ at.registry }}/api/v4/projects/{{ at.project_id }}/packages/<package_id>/package_files/<file_id>/yank
