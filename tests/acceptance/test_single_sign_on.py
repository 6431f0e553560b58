"""Signing in at an identity provider, with several processes."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.acceptance.servers import ForkedServer
from tests.fakes.identity_provider import provider_running

BEGIN = "/users/auth/openid_connect"


@pytest.mark.databases
def test_of_several_answers_of_the_provider_at_the_same_time_in_two_processes_one_signs_in(
    tmp_path: Path, new_database: Callable[..., str]
) -> None:
    with provider_running() as provider:
        server = ForkedServer(
            tmp_path, WORKERS="2", DATABASE_URL=new_database(), OIDC_ISSUER=provider.url, OIDC_CLIENT_ID="registry",
            OIDC_CLIENT_SECRET="s3cret",
        )  # fmt: skip
        server.start()
        provider.set_claims("hanako", preferred_username="hanako", email="hanako@example.com")
        try:
            for _ in range(3):
                cookies, leaving = begun(server)
                answer = provider.sign_in(leaving, "hanako")

                def complete(_: int, answer: str = answer, cookies: dict[str, str] = cookies) -> int:
                    return requests.get(answer, cookies=cookies, allow_redirects=False, timeout=60).status_code

                with ThreadPoolExecutor(6) as threads:
                    assert sorted(threads.map(complete, range(6))) == [303] + [400] * 5
        finally:
            assert server.stop() == 0, server.log
    assert "Traceback" not in server.log


def begun(server: ForkedServer) -> tuple[dict[str, str], str]:
    """The cookies of a browser that has begun to sign in, and where it is led; each request has its own connection."""
    page = requests.get(f"{server.url}/users/sign_in", timeout=60)
    token = re.search(r'name="csrf_token" value="([^"]+)"', page.text)
    assert token is not None
    leaving = requests.post(
        f"{server.url}{BEGIN}", {"csrf_token": token[1]}, cookies=page.cookies.get_dict(), timeout=60
    )
    url = re.search(r'content="0; url=([^"]+)"', leaving.text)
    assert url is not None, leaving.text
    return leaving.cookies.get_dict(), url[1].replace("&amp;", "&")
