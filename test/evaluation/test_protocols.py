from __future__ import annotations

import numpy as np
import pytest

from cista_ros.evaluation.protocols import EVREAL, ICASSP2022, ICASSP2022_CLAHE, REAL, EvaluationError
from cista_ros.events import NS
from cista_ros.recordings.ecd import ECD_SEQUENCES

START = 1_468_939_993 * NS


def stamps(seconds, rate=20):
    return START + np.arange(round(seconds * rate)) * (NS // rate)


@pytest.mark.parametrize(("name", "frames"), [("boxes_6dof", 550), ("office_zigzag", 247), ("slider_depth", 84)])
def test_the_papers_protocol_takes_the_first_frames(name, frames):
    plan = ICASSP2022.plan(name, stamps(60), START)
    assert len(plan.stamps) == frames and plan.scored.all() and plan.begin is None and not plan.note
    assert plan.stamps[0] == START


def test_other_recordings_are_taken_up_to_550_frames_and_short_ones_said_to_be_short():
    assert len(ICASSP2022.plan("mine", stamps(60), START).stamps) == 550
    assert not ICASSP2022.plan("mine", stamps(1), START).note
    assert ICASSP2022.plan("slider_depth", stamps(1), START).note == "20 of the protocol's 84 frames"


@pytest.mark.parametrize("name", ECD_SEQUENCES)
def test_evreal_scores_its_time_cuts(name):
    start, end = {"slider_depth": (1.0, 2.5), "office_zigzag": (5.0, 12.0)}.get(name, (5.0, 20.0))
    plan = EVREAL.plan(name, stamps(60), START)
    seconds = (plan.stamps - START) / NS
    assert seconds[0] == 0 and seconds[-1] == end
    assert seconds[plan.scored][0] == start and plan.scored.sum() == round((end - start) * 20) + 1
    assert plan.begin == START


def test_evreal_warms_up_for_ten_seconds_and_leaves_out_the_last_frame():
    from dataclasses import replace

    late = replace(EVREAL, cuts={"a": (15.0, 18.0)})
    plan = late.plan("a", stamps(60), START)
    assert (plan.stamps[0] - START) / NS == 5.0 and plan.first == 100
    assert (plan.begin - START) / NS == 4.95
    whole = EVREAL.plan("mine", stamps(3), START)
    assert len(whole.stamps) == 59 and whole.scored.all()


def test_what_a_short_recording_cannot_give_is_said():
    assert EVREAL.plan("slider_depth", stamps(2), START).note == "its frames end at 1.95 s of the protocol's 2.5 s"
    with pytest.raises(EvaluationError, match=r"evreal wants 1.0 s to 2.5 s of it, and its 3 frames end after 0.10 s"):
        EVREAL.plan("slider_depth", stamps(0.15), START)
    with pytest.raises(EvaluationError, match="its frames but the last"):
        EVREAL.plan("mine", stamps(0.05), START)


def test_stamps_that_go_back_are_refused():
    with pytest.raises(EvaluationError, match="go back"):
        ICASSP2022.plan("mine", stamps(1)[::-1], START)


def test_each_protocol_says_what_its_numbers_mean():
    assert ICASSP2022.description == (
        "protocol icassp2022: first 550 frames of each sequence; both images stretched and histogram-equalised; "
        "SSIM 7×7 uniform; LPIPS vgg; means weighted by frames"
    )
    assert "CLAHE" in ICASSP2022_CLAHE.description
    assert "time cuts of EVREAL; images as they are; SSIM Gaussian, σ 1.5" in EVREAL.description


def test_the_sensor_columns_of_another_kind_are_masked_in_the_real_protocol():
    mask = REAL.mask("real_evbench_1", 180, 190)
    assert mask.shape == (180, 190) and not mask[:, :20].any() and mask[:, 20:].all()
    assert REAL.mask("mine", 180, 190) is None and EVREAL.mask("real_evbench_1", 180, 190) is None
