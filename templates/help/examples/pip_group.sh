pip install{{ at.trusted }} --index-url {{ at.index("group") }} --no-deps <package_name>
