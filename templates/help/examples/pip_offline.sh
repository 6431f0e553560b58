pip download --no-deps --dest wheels{{ at.trusted }} --index-url {{ at.index("group") }} <package_name>
pip install --no-index --find-links wheels <package_name>
