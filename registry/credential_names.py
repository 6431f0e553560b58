"""The headers and parameters of a request that can carry credentials.

What finds the caller, keeps a response for one caller, follows links, or writes the log must agree on them: a new name
belongs in these lists, and nowhere else.
"""

from __future__ import annotations

AUTHORIZATION = "Authorization"
PRIVATE_TOKEN = "PRIVATE-TOKEN"
DEPLOY_TOKEN = "Deploy-Token"
JOB_TOKEN = "JOB-TOKEN"
COOKIE = "Cookie"

# Clients send these also to another host that they are redirected to (libcurl, "CURLOPT_UNRESTRICTED_AUTH").
TOKEN_HEADERS = (PRIVATE_TOKEN, DEPLOY_TOKEN, JOB_TOKEN)
HEADERS = (AUTHORIZATION, *TOKEN_HEADERS, COOKIE)

PRIVATE_TOKEN_PARAMETER = "private_token"
JOB_TOKEN_PARAMETER = "job_token"
FEED_TOKEN_PARAMETER = "feed_token"
PARAMETERS = (PRIVATE_TOKEN_PARAMETER, JOB_TOKEN_PARAMETER, FEED_TOKEN_PARAMETER)


def environ_key(header: str) -> str:
    """Where WSGI has a header (PEP 3333, "environ Variables")."""
    return "HTTP_" + header.upper().replace("-", "_")
