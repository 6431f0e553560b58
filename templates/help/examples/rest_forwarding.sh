curl --request PUT --header "PRIVATE-TOKEN: <your_personal_token>" \
  --data pypi_package_requests_forwarding=false --data lock_pypi_package_requests_forwarding=true \
  {{ at.registry }}/api/v4/groups/{{ at.group_id }}/package_settings
