"""`cista sync`: how the frames of a camera follow the pulses on an input of the event camera."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import typer

from .options import EventsTopicOption, FramesTopicOption, JsonOption
from .progress import counted

if TYPE_CHECKING:
    from ..trigger_pairs import Pairing

MS, S = 1e6, 1e9  # ns


def sync(
    recording: Annotated[Path, typer.Argument(help="Recording with triggers, in any readable format.")],
    event_time: Annotated[
        Literal["sensor", "host"],
        typer.Option(help="Clock of event packets: the host's, or the camera's (sensor) to see its drift."),
    ] = "host",
    events_topic: EventsTopicOption = None,
    frames_topic: FramesTopicOption = None,
    plot: Annotated[Path | None, typer.Option(help="Also draw the delay over time to this PNG file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Report triggers, and the delay, spread, drift and losses of the frames that they trigger."""
    from ..recordings import open_recording
    from ..trigger_pairs import missed_pulses, pair

    if plot:
        from ..evaluation.figures import new_figure

        figure = new_figure(7, 3.5)  # fails now, not after the work, without matplotlib
    trains: list[dict[str, Any]] = []
    pairings: list[Pairing] = []
    with open_recording(
        recording, events_topic=events_topic, frames_topic=frames_topic, event_time=event_time
    ) as source:
        triggers = source.triggers()
        frames = source.frame_stamps() if source.frames_topic else np.empty(0, np.int64)
    kinds = np.unique(triggers[["id", "p"]]).tolist()
    for number, rising in sorted(kinds, key=lambda kind: (kind[0], not kind[1])):
        times = triggers["t"][(triggers["id"] == number) & (triggers["p"] == rising)]
        train = {"input": number, "edge": "rising" if rising else "falling", "count": len(times)}
        train |= {"period_s": _period(times), "missed_pulses": missed_pulses(times)}
        if len(frames):
            pairings.append(pair(times, frames))
            train |= _summary(pairings[-1])
        trains.append(train)
    period = _period(frames)
    if plot and any(len(pairing.triggers) for pairing in pairings):
        _draw(figure, plot, trains, pairings)
    elif plot:
        typer.echo(f"{plot} is not written: it needs frames and triggers that belong to them", err=True)
    if as_json:
        about = {"recording": str(recording), "frames_topic": source.frames_topic, "frames": len(frames)}
        typer.echo(json.dumps({**about, "frame_period_s": period, "triggers": trains}))
        return
    rate = f", {1 / period:.3f} per second" if period else ""
    typer.echo(f"Frames: {len(frames)}{f' on {source.frames_topic}{rate}' if len(frames) else ''}")
    for train in trains:
        typer.echo(_text(train))
    if not trains:
        typer.echo("Triggers: 0")
    # Those that the frames follow most regularly.
    fitting = [train for train in trains if train.get("triggers_frames")]
    if best := min(fitting, key=lambda train: (-train["pairs"], train["spread_s"]), default=None):
        typer.echo(
            f"To reconstruct at these frames: --windows trigger --edge {best['edge']} --trigger-input {best['input']}"
            f" (node: trigger_delay: {best['delay_s']:.6f})"
        )


def _period(times: np.ndarray) -> float | None:
    return float(np.median(np.diff(times))) / S if len(times) > 1 else None


def _summary(pairing: Pairing) -> dict[str, Any]:
    n = len(pairing.triggers)
    return {
        "triggers_frames": pairing.plausible,
        "pairs": n,
        "triggers_without_frame": pairing.lone_triggers,
        "frames_without_trigger": pairing.lone_frames,
        "delay_s": float(np.median(pairing.delays)) / S if n else None,
        "spread_s": float(pairing.residuals.std()) / S if n else None,
        "largest_deviation_s": float(np.abs(pairing.residuals).max()) / S if n else None,
        "drift_ppm": pairing.drift * 1e6,
        "other_delays_s": [delay / S for delay in pairing.other_delays],
    }


def _text(train: dict[str, Any]) -> str:
    period = f", {1 / train['period_s']:.3f} per second" if train["period_s"] else ""
    head = (
        f"Input {train['input']}, {train['edge']}: {counted(train['count'], 'trigger')}{period},"
        f" {train['missed_pulses']} missing"
    )
    if "pairs" not in train:
        return head
    if not train["triggers_frames"]:
        return f"{head}; they do not trigger the frames"
    shared = -train["period_s"] < train["delay_s"] < train["period_s"]
    others = ", ".join(f"{delay:.6f}" for delay in train["other_delays_s"][:4])
    return (
        f"{head}\n  {counted(train['pairs'], 'pair')};"
        f" {counted(train['frames_without_trigger'], 'frame')} without a trigger,"
        f" {counted(train['triggers_without_frame'], 'trigger')} without a frame"
        f"\n  delay of the frames' stamps: {train['delay_s']:.6f} s, spread (standard deviation)"
        f" {train['spread_s'] * S / MS:.3f} ms, at most {train['largest_deviation_s'] * S / MS:.3f} ms, drift"
        f" {train['drift_ppm']:.1f} ppm"
        + ("" if shared or not others else f"\n  the clocks differ; these delays fit as well: {others} s")
    )


def _draw(figure: Any, path: Path, trains: list[dict[str, Any]], pairings: list[Pairing]) -> None:
    from ..util.atomic import write_atomically

    axes = figure.subplots()
    for train, pairing in zip(trains, pairings, strict=True):
        if len(pairing.triggers):
            label = f"input {train['input']}, {train['edge']}"
            axes.plot((pairing.triggers - pairing.triggers[0]) / S, pairing.delays / MS, ".", label=label)
    axes.set(xlabel="time (s)", ylabel="stamp of the frame minus trigger (ms)")
    axes.legend()
    write_atomically(path, lambda part: figure.savefig(part, dpi=150, format="png"))
