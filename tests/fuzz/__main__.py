"""Fuzzes one target, guided by the code that its inputs reach: ``python -m tests.fuzz framing -max_total_time=60``.

Needs the extra ``fuzz``. The options behind the target are those of libFuzzer. An input that fails is written to the
current folder; once its cause is mended, it belongs into ``tests/fuzz/corpus/<target>/``.
"""

from __future__ import annotations

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
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: python -m tests.fuzz {{{','.join(TARGETS)}}} [OPTION OF LIBFUZZER]...")
    with TemporaryDirectory(prefix="fuzz") as folder:
        _fuzz(TARGETS[sys.argv[1]], Path(folder))


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
