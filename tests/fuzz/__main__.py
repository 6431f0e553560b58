"""Fuzzes targets, guided by the code that their inputs reach; needs the extra ``fuzz``.

``python -m tests.fuzz framing -max_total_time=60`` fuzzes one, with the options of libFuzzer behind it.
``python -m tests.fuzz all 10`` fuzzes all of them one after the other, for 10 minutes together.

An input that fails is written to the current folder; once its cause is mended, it belongs into
``tests/fuzz/corpus/<target>/``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import atheris

with atheris.instrument_imports(
    include=["registry", "waitress", "werkzeug", "packaging"], enable_loader_override=False
):
    from tests.fuzz.target import Target
    from tests.fuzz.targets import TARGETS


def main() -> None:
    if sys.argv[1:2] == ["all"] and len(sys.argv) == 3 and sys.argv[2].isdecimal():
        sys.exit(_fuzz_all(60 * int(sys.argv[2])))
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        one = f"{{{','.join(TARGETS)}}} [OPTION OF LIBFUZZER]..."
        sys.exit(f"usage: python -m tests.fuzz {one}\n       python -m tests.fuzz all MINUTES")
    with TemporaryDirectory(prefix="fuzz") as folder:
        _fuzz(TARGETS[sys.argv[1]], Path(folder))


def _fuzz_all(seconds: int) -> str | None:
    """Fuzz every target for the same part of the time, and return which of them failed."""
    each = max(1, seconds // len(TARGETS))
    failed = []
    for name in TARGETS:
        print(f"== {name}: {each} s", flush=True)
        child = os.fork()  # libFuzzer ends its process, and what it needs is imported already
        if child == 0:
            sys.argv[1:] = [name, f"-max_total_time={each}", f"-artifact_prefix={name}-"]
            main()
        if os.waitpid(child, 0)[1] != 0:
            failed.append(name)
    return f"Failed: {', '.join(failed)}" if failed else None


def _fuzz(target: Target, folder: Path) -> None:
    seeds, dictionary = folder / "seeds", folder / "dictionary"
    seeds.mkdir()
    for number, seed in enumerate(target.seeds):
        (seeds / str(number)).write_bytes(seed)
    dictionary.write_text("".join(f'"{_escaped(piece)}"\n' for piece in target.pieces if len(piece) <= 64))
    atheris.Setup([sys.argv[0], str(seeds), f"-dict={dictionary}", *sys.argv[2:]], target.check)
    atheris.Fuzz()


def _escaped(piece: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in piece)


main()
