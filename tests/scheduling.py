"""Which tests run in the same process of pytest-xdist, and in which order the groups start."""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

# Directories and files whose tests share something expensive: a browser with its server, an object store, or the syntax
# trees of all modules.
SHARING = {
    "tests/browser/": "browser",
    "tests/acceptance/test_object_stores.py": "object store",
    "tests/blueprints/pypi/test_object_stores.py": "object store",
    "tests/storage/": "object store",
    "tests/blueprints/ui/test_audit.py": "syntax trees",
    "tests/database/test_locks.py": "syntax trees",
    "tests/test_architecture.py": "syntax trees",
    "tests/test_errors.py": "syntax trees",
}
# Groups that take long although they have few tests; they start first, so that no process ends long after the others.
LONGEST = (
    "browser", "tests/blueprints/pypi/test_prepared_model.py", "tests/acceptance/test_user_guide.py", "object store",
    "tests/acceptance/test_readme.py", "tests/acceptance/test_faults.py", "tests/acceptance/test_deployment.py",
    "tests/acceptance/test_upstream_cache.py", "tests/blueprints/api/test_parameters.py",
    "tests/acceptance/test_workers.py", "tests/test_migrations.py", "tests/domain/operation/test_backups.py",
    "tests/acceptance/test_help.py", "tests/test_first_run.py", "tests/acceptance/test_durability.py",
    "tests/acceptance/test_python_gitlab.py", "tests/acceptance/test_uv.py", "tests/acceptance/test_upstream_files.py",
)  # fmt: skip


class ByFile(LoadScopeScheduling):
    """Run the tests of one file, or of all files that share something, one after another in one process.

    It does what ``--dist loadgroup`` is for, which has no effect with pytest 9: the group is written to an attribute
    that pytest no longer reads.
    """

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return next((group for start, group in SHARING.items() if path.startswith(start)), path)

    def _assign_work_unit(self, node: WorkerController) -> None:
        """Assign the next of the longest groups, then the one with the most tests."""
        longest = next((group for group in LONGEST if group in self.workqueue), None)
        if longest is not None:
            self.workqueue.move_to_end(longest, last=False)
        super()._assign_work_unit(node)
