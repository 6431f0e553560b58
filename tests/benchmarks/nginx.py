"""nginx with the files of a folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from registry.domain.packages import simple
from tests.benchmarks.peers import Unavailable, running

_CONFIGURATION = """\
daemon off;
master_process off;
pid {folder}/pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    sendfile on;
    sendfile_max_chunk 2m;
    types {{}}
    default_type application/octet-stream;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        root {folder}/static;
        location /simple/ {{
            index index.json;
            default_type {json};
        }}
    }}
}}
"""


@contextmanager
def serving(folder: Path, port: int) -> Iterator[None]:
    """Serve the folder ``static`` in this folder on a port of the loopback address.

    :raises Unavailable: nginx is not installed.
    """
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin:/sbin")
    if program is None:
        raise Unavailable("nginx is not installed")
    configuration = folder / "nginx.conf"
    configuration.write_text(_CONFIGURATION.format(folder=folder, port=port, json=simple.JSON))
    with running((program, "-c", configuration, "-p", folder), port, folder / "log"):
        yield
