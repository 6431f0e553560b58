"""State that the parts of the session share: tokens of users, and the ids of created records."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.acceptance.servers import RunningServer
from tests.recording.recorder import Answer, Recorder, Rest

ROOT_PASSWORD = "the password of the recording 1"
ROOT_TOKEN = "glpat-token-of-the-recording-root"
PASSWORD = "a password of the recording 2"


class World:
    def __init__(self, recorder: Recorder, server: RunningServer) -> None:
        self.recorder = recorder
        self.server = server
        self.anonymous = Rest(recorder)
        self.root = Rest(recorder, ROOT_TOKEN)
        self.ids: dict[str, int] = {}
        self.tokens: dict[str, str] = {"root": ROOT_TOKEN}

    def by(self, username: str) -> Rest:
        return Rest(self.recorder, self.tokens[username])

    def keep(self, name: str, answer: Answer) -> int:
        """Remember the id of a created record, and return it."""
        document: Any = answer.json
        assert answer.status in (200, 201), f"{name}: {answer.status} {answer.text}"
        self.ids[name] = document["id"]
        return self.ids[name]


def day(distance: int) -> str:
    """A date so many days from today."""
    return (datetime.now(UTC).date() + timedelta(days=distance)).isoformat()
