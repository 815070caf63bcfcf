"""Message types whose packages are optional: what is said where one is missing can be done."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cista_ros.errors import MissingPackageError
from cista_ros.node.message_types import message_class
from cista_ros.wire.ros_types import EVENT_TYPES

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("kind", EVENT_TYPES)
def test_a_missing_package_is_to_be_built_from_this_repository_only_if_it_is_there(kind, monkeypatch):
    package = kind.split("/")[0]
    monkeypatch.setitem(sys.modules, f"{package}.msg", None)
    with pytest.raises(MissingPackageError, match=f"{kind}: the package {package} is not installed") as caught:
        message_class(kind)
    assert (f"build it from msg/{package}" in str(caught.value)) == (ROOT / "msg" / package).is_dir()
