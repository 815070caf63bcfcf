"""`cista doctor`: what this machine offers, what `auto` selects, and a short self-test."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

from .options import DeviceOption, JsonOption


def doctor(
    device: DeviceOption = "auto",
    test: Annotated[bool, typer.Option("--test/--no-test", help="Run the self-test, about ten seconds.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Describe this machine and test each part. The exit code is 1 if a test fails. Attach it to bug reports."""
    from ..benchmark.doctor import describe, self_test

    found = describe(device)
    checks = self_test(device) if test else []
    if as_json:
        typer.echo(json.dumps({"machine": found, "checks": [asdict(check) for check in checks]}, indent=1))
    else:
        for section, items in found.items():
            typer.echo(f"\n{section}")
            for name, value in items.items():
                typer.echo(f"  {name:22}{_text(value)}")
        typer.echo("\nself-test" if checks else "")
        for check in checks:
            result = {True: "ok", False: "FAILED", None: "skipped"}[check.passed]
            typer.echo(f"  {check.name:16}{result:9}{check.detail} ({check.seconds:.1f} s)")
    if any(check.passed is False for check in checks):
        raise typer.Exit(1)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        value = [f"{name}: {_text(item)}" for name, item in value.items()]
    return f"\n{'':24}".join(value) or "none" if isinstance(value, list) else str(value)
