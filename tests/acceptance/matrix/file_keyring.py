"""A keyring in a file of the home folder, with one key of JSON for each service; for the Pythons of all clients."""

import json
import os

from keyring.backend import KeyringBackend


class Keyring(KeyringBackend):
    priority = 1

    def get_password(self, service, username):
        return self._read().get(service, {}).get(username)

    def set_password(self, service, username, password):
        secrets = self._read()
        secrets.setdefault(service, {})[username] = password
        with open(self._path, "w") as file:
            json.dump(secrets, file)

    def delete_password(self, service, username):
        secrets = self._read()
        del secrets[service][username]
        with open(self._path, "w") as file:
            json.dump(secrets, file)

    def _read(self):
        if not os.path.exists(self._path):
            return {}
        with open(self._path) as file:
            return json.load(file)

    @property
    def _path(self):
        return os.path.join(os.path.expanduser("~"), ".keyring.json")
