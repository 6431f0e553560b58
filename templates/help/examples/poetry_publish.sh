poetry config repositories.gitlab {{ at.project }}
poetry config http-basic.gitlab __token__ <your_personal_token>
poetry publish --build --repository gitlab
