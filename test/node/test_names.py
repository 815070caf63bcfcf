"""Our nodes inherit from rclpy's: none of our names may hide one of its own."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import rclpy
from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node

import cista_ros.node

TRANSITIONS = {f"on_{name}" for name in ("configure", "activate", "deactivate", "cleanup", "shutdown", "error")}
FILES = sorted(Path(cista_ros.node.__file__).parent.glob("*.py"))


@pytest.fixture(scope="module")
def names():
    """What a node of rclpy has, on the class and on the instance."""
    context = rclpy.Context()
    rclpy.init(context=context)
    node = LifecycleNode("names", context=context)
    yield set(dir(node)) | set(dir(Node))
    node.destroy_node()
    context.try_shutdown()


def node_classes():
    for file in FILES:
        for item in ast.walk(ast.parse(file.read_text())):
            if isinstance(item, ast.ClassDef) and any(ast.unparse(base).endswith("Node") for base in item.bases):
                yield pytest.param(item, id=item.name)


@pytest.mark.parametrize("item", node_classes())
def test_no_name_of_ours_is_one_of_rclpys(item, names):
    methods = {f.name for f in item.body if isinstance(f, ast.FunctionDef)} - {"__init__"} - TRANSITIONS
    attributes = {
        target.attr
        for node in ast.walk(item)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        for target in [node]
        if ast.unparse(target.value) == "self"
    }
    assert len(methods | attributes) > 5
    assert not (methods | attributes) & names
