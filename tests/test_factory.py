"""What the application is made of as a whole."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

from sqlalchemy import text

from registry import create_app
from registry.database import db


def test_an_application_that_is_no_longer_used_is_freed(tmp_path: Path) -> None:
    app = create_app({"INSTANCE_PATH": tmp_path, "DATABASE_URL": None})
    with app.app_context():
        db.session.execute(text("SELECT 1"))
        db.session.remove()
        db.engine.dispose()
    assert app.test_client().get("/-/liveness").status_code == 200

    found = weakref.ref(app)
    del app
    gc.collect()

    assert found() is None
