"""Keys of the WSGI environment with which the parts that a request passes through tell each other about it.

No header can have one of them (PEP 3333, "environ Variables"). A key that only one module uses is defined there.
"""

from __future__ import annotations

# From the server to the application:
PREFLIGHT = "registry.preflight"  # the body that the application is asked for; only the head has arrived
PROXY_USER = "registry.proxy_user"  # the name of the user that a trusted proxy has authenticated

# For the log and the metrics:
REQUEST_ID = "registry.request_id"
PRINCIPAL = "registry.principal"  # the label of the caller, if it is known
ROUTE = "registry.route"  # the URL rule that matches, never a URL
EVENT = "registry.event"  # the effect of the request, an instance of a class of ``metrics``

# About responses that are kept:
# That the request is admitted by nothing but the database, the URL, and the credentials in it: the access number of the
# content generation, read before any other data.
ACCESS_NUMBER = "registry.access_number"
KEPT = "registry.kept"  # the kept response with which the request was answered
NOTE = "registry.note"  # beside it: returns a function that logs and counts the same request again
