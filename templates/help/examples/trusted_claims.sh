python3 -c 'import base64, json, os; part = os.environ["IDENTITY_TOKEN"].split(".")[1]
print(json.dumps(json.loads(base64.urlsafe_b64decode(part + "==")), indent=2))'
