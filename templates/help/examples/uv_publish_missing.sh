export UV_PUBLISH_TOKEN=<your_personal_token>
uv publish --publish-url {{ at.project }} \
  --check-url {{ at.index("project") }} dist/*
