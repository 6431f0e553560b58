"""Forms in the simplest spelling are read without the multipart decoder, and exactly as the decoder reads them."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData

from registry.blueprints.pypi.upload import plain_events
from tests.benchmarks.peers import BOUNDARY, form
from tests.builders import build_wheel

Parts = list[tuple[str, str | None, bytes]]

# Everything that a delimiter, a head, or the end of a part consists of, and more of it than chance would give.
FRAGMENTS = st.sampled_from(
    [
        b"\r\n", b"\n", b"\r", b"--", b"x", b"--x", b"\r\n--x\r\n", b"\r\n--x--\r\n", b"--x \r\n", b" ", b"\x00",
        b"\xff",
        b'Content-Disposition: form-data; name="a"', b'; filename="b"', b"\r\n\r\n", b"Content-Type: text/plain", b":",
        b'"', b"%22", b"\\", b";", b"=", b"a",
    ]
)  # fmt: skip
CONTENTS = st.lists(FRAGMENTS, max_size=8).map(b"".join)
HEADS = st.one_of(
    st.builds(
        lambda name, filename: b'Content-Disposition: form-data; name="' + name + b'"' + filename,
        st.text("abc ;=:*'!-_.", max_size=6).map(str.encode),
        st.sampled_from([b"", b'; filename=""', b'; filename="a b;c=d.whl"', b'; filename="a"\r\nContent-Type: a/b']),
    ),
    CONTENTS,
)
BOUNDARIES = st.sampled_from([b"x", b"-", b"--", b"xx", b"x-x", b"a boundary"])


def decoded(boundary: bytes, body: bytes) -> Parts | None:
    """The parts as the decoder reads them; ``None`` if the form is malformed."""
    decoder, parts = MultipartDecoder(boundary, max_parts=10_000), Parts()
    decoder.receive_data(body)
    try:
        while not isinstance(event := decoder.next_event(), Epilogue):
            if isinstance(event, NeedData):
                decoder.receive_data(None)
            elif isinstance(event, Field | File):
                parts.append((event.name, getattr(event, "filename", None), b""))
            elif isinstance(event, Data):
                name, filename, content = parts[-1]
                parts[-1] = (name, filename, content + event.data)
    except ValueError:
        return None
    return parts


def read_plainly(boundary: bytes, body: bytes) -> Parts | None:
    events = plain_events(boundary, body)
    if events is None:
        return None
    parts = Parts()
    for opened, data in zip(events[::2], events[1::2], strict=True):
        assert isinstance(opened, Field | File)
        assert isinstance(data, Data)
        assert not data.more_data
        parts.append((opened.name, getattr(opened, "filename", None), data.data))
    return parts


def body_of(boundary: bytes, parts: list[tuple[bytes, bytes]], end: bytes) -> bytes:
    delimiter = b"--" + boundary
    written = [delimiter + b"\r\n" + head + b"\r\n\r\n" + content + b"\r\n" for head, content in parts]
    return b"".join(written) + delimiter + end


@settings(max_examples=100, deadline=None)
@given(
    boundary=BOUNDARIES,
    parts=st.lists(st.tuples(HEADS, CONTENTS), max_size=4),
    end=st.sampled_from([b"--\r\n", b"--", b"\r\n", b"-- \r\n", b"--\r\nmore"]),
)
@example(boundary=b"x", parts=[(b'Content-Disposition: form-data; name=""', b"\r\n")], end=b"--\r\n")
@example(boundary=b"x", parts=[(b'Content-Disposition: form-data; name="a"', b"--x")], end=b"--\r\n")
def test_a_plainly_read_form_equals_that_of_the_decoder(
    boundary: bytes, parts: list[tuple[bytes, bytes]], end: bytes
) -> None:
    body = body_of(boundary, parts, end)

    found = read_plainly(boundary, body)

    assert found is None or found == decoded(boundary, body)


def test_the_form_of_an_ordinary_client_is_read_plainly() -> None:
    wheel = build_wheel()

    found = read_plainly(BOUNDARY.encode(), form(wheel))

    assert found == decoded(BOUNDARY.encode(), form(wheel))
    assert found is not None
    assert found[-1] == ("content", wheel.filename, wheel.content)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"--x--\r\n", b"--x\r\n--x--\r\n", b"preamble\r\n--x\r\n\r\n\r\n--x--\r\n",
        b'--x\r\ncontent-disposition: form-data; name="a"\r\n\r\n1\r\n--x--\r\n',
        b'--x\r\nContent-Disposition: form-data; name="%22"\r\n\r\n1\r\n--x--\r\n',
        b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\n--x\n2\r\n--x--\r\n',
    ],
    ids=["nothing", "no part", "no head", "preamble", "lower case", "escaped", "other line breaks"],
)  # fmt: skip
def test_any_other_spelling_is_left_to_the_decoder(body: bytes) -> None:
    assert plain_events(b"x", body) is None
