export TWINE_USERNAME=__token__ TWINE_PASSWORD=<your_personal_token>
python -m twine upload --repository-url {{ at.project }}/validate dist/*
