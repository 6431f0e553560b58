curl --header "PRIVATE-TOKEN: <your_personal_token>" {{ at.registry }}/api/v4/user
