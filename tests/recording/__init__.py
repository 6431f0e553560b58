"""Records the answers to a long fixed session, so that two versions of the registry can be compared.

``python -m tests.recording FOLDER`` starts the real server on an empty instance, plays the session (REST, PyPI, pages,
commands) and writes a text file for each step: the request and the whole answer. Values that differ from run to run
(times, secrets, ports) are masked, so that two runs of one version give equal folders.
``python -m tests.recording --compare A B`` shows the steps that differ. It is a tool and no part of the suite: pytest
does not collect it.
"""
