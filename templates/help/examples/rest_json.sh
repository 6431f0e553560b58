curl --header "PRIVATE-TOKEN: <your_personal_token>" {{ at.project }}/json/<package_name>
