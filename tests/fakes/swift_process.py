"""OpenStack Swift with its S3 interface, all of its servers in one process: ``swift_process.py <folder>``.

Run in an environment of its own (``tests/fakes/s3.py``). Prints its port when it answers.
"""

from __future__ import annotations

import os
import pwd
import sys
import warnings
from pathlib import Path

warnings.simplefilter("ignore")

import eventlet  # noqa: E402

eventlet.monkey_patch()

from eventlet import listen, spawn, wsgi  # noqa: E402
from swift.account.server import AccountController  # noqa: E402
from swift.common import utils  # noqa: E402
from swift.common.http_protocol import SwiftHttpProtocol  # noqa: E402
from swift.common.ring import RingBuilder  # noqa: E402
from swift.common.storage_policy import reload_storage_policies  # noqa: E402
from swift.common.wsgi import loadapp  # noqa: E402
from swift.container.server import ContainerController  # noqa: E402
from swift.obj.server import ObjectController  # noqa: E402

FOLDER = Path(sys.argv[1]).absolute()
SERVERS = {"account": AccountController, "container": ContainerController, "object": ObjectController}
SWIFT = """
[swift-hash]
swift_hash_path_prefix = tests
swift_hash_path_suffix = tests
[storage-policy:0]
name = one
default = yes
"""
# In the order in which requests pass them.
FILTERS = {
    "catch_errors": "egg:swift#catch_errors",
    "gatekeeper": "egg:swift#gatekeeper",
    "cache": "egg:swift#memcache\nmemcache_servers = 127.0.0.1:1",
    "listing_formats": "egg:swift#listing_formats",
    "bulk": "egg:swift#bulk",
    "s3api": "egg:swift#s3api\nlocation = us-east-1\ns3_acl = no\ncheck_bucket_owner = no\nmin_segment_size = 1048576",
    "tempauth": "egg:swift#tempauth\nuser_test_tester = testing .admin",
    "copy": "egg:swift#copy",
    "slo": "egg:swift#slo",
}


def main() -> None:
    devices, settings = FOLDER / "devices", FOLDER / "etc"
    (devices / "disk").mkdir(parents=True)
    settings.mkdir()
    (settings / "swift.conf").write_text(SWIFT)
    (settings / "proxy.conf").write_text(_proxy())
    utils.set_swift_dir(str(settings))
    listeners = {kind: _listed(kind, settings) for kind in SERVERS}
    reload_storage_policies()
    options = {
        "devices": str(devices),
        "mount_check": "false",
        "swift_dir": str(settings),
        "disable_fallocate": "true",
        "fallocate_reserve": "0",
        "user": pwd.getpwuid(os.getuid()).pw_name,
    }
    with Path(os.devnull).open("w") as nowhere:
        for kind, server in SERVERS.items():
            spawn(wsgi.server, listeners[kind], server(options), nowhere)
        proxy = loadapp(str(settings / "proxy.conf"), global_conf={"swift_dir": str(settings)})
        listener = listen(("127.0.0.1", 0))
        print(listener.getsockname()[1], flush=True)
        wsgi.server(listener, proxy, nowhere, max_size=200, protocol=SwiftHttpProtocol)


def _proxy() -> str:
    sections = [
        f"[pipeline:main]\npipeline = {' '.join(FILTERS)} proxy-server",
        "[app:proxy-server]\nuse = egg:swift#proxy\nallow_account_management = true\naccount_autocreate = true",
    ]
    sections += [f"[filter:{name}]\nuse = {options}" for name, options in FILTERS.items()]
    return "\n".join(sections)


def _listed(kind: str, settings: Path) -> object:
    """A listening socket of this server, written down where the others look for it."""
    listener = listen(("127.0.0.1", 0))
    ring = RingBuilder(1, 1, 1)
    port = listener.getsockname()[1]
    ring.add_dev({"id": 0, "region": 1, "zone": 1, "ip": "127.0.0.1", "port": port, "device": "disk", "weight": 1.0})
    ring.rebalance()
    ring.get_ring().save(str(settings / f"{kind}.ring.gz"))
    return listener


if __name__ == "__main__":
    main()
