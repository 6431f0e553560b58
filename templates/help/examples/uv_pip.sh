uv pip install --default-index {{ at.index("group") }} <package_name>
