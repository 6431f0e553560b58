flask packages check dist/*
