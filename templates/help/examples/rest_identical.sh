curl --request PUT --header "PRIVATE-TOKEN: <your_personal_token>" --data pypi_identical_upload_accepted=true \
  {{ at.registry }}/api/v4/projects/{{ at.project_id }}
