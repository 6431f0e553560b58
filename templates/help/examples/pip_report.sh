pip install --dry-run --ignore-installed --quiet --report report.json{{ at.trusted }} --index-url {{ at.index("group") }} <package_name>
python -c 'import json; [print(entry["download_info"]["url"]) for entry in json.load(open("report.json"))["install"]]'
