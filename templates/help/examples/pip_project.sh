pip install{{ at.trusted }} --index-url {{ at.index("project") }} --no-deps <package_name>
