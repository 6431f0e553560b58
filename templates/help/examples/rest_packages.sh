curl --header "PRIVATE-TOKEN: <your_personal_token>" "{{ at.registry }}/api/v4/projects/{{ at.project_id }}/packages?package_name=<package_name>"
