"""The text of errors that quote untrusted names."""

import pytest

from cista_ros import errors
from cista_ros.errors import CistaError

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, CistaError)]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_is_one_line_without_control_characters(kind):
    forged = kind("a.bag: topic /x\n[INFO] all is well\x1b[2J\r\u202e\udc80")
    assert str(forged) == "a.bag: topic /x\\n[INFO] all is well\\x1b[2J\\r\\u202e\\udc80"
    str(forged).encode()


def test_printable_text_is_unchanged():
    assert str(CistaError("/tmp/Aufnahme 1/übung.bag: größer als 5 µs, 日本 \\ 'x'")) == (
        "/tmp/Aufnahme 1/übung.bag: größer als 5 µs, 日本 \\ 'x'"
    )
    assert str(CistaError()) == ""
