python -m twine upload --repository gitlab dist/*
