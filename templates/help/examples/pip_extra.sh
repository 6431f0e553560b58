pip install{{ at.trusted }} --extra-index-url {{ at.index("group") }} <package_name>
