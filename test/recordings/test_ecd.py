from __future__ import annotations

import functools
import hashlib
import http.server
import threading
from dataclasses import replace

import pytest

from cista_ros.errors import RecordingError
from cista_ros.recordings.ecd import ECD_SEQUENCES, SEQUENCES, choose_sequences, fetch_sequence
from cista_ros.util.download import Checksum, DownloadError


def test_the_seven_of_the_paper_and_all_have_names_of_their_own():
    assert [s.name for s in choose_sequences(["paper"])] == list(ECD_SEQUENCES)
    assert len(choose_sequences(["all", "slider_depth"])) == len(SEQUENCES) == 27
    unknown = [s.name for s in SEQUENCES.values() if not s.checksum(text=False)]
    assert unknown == ["simulation_3planes", "simulation_3walls"], "nobody has published an MD5 of these"
    assert all(len(s.md5) == 32 and not s.checksum(text=True) for s in SEQUENCES.values() if s.md5)
    with pytest.raises(RecordingError, match=r"no sequence 'sliders'; expected one of boxes_6dof, .*, paper, or all"):
        choose_sequences(["sliders"])


def test_addresses_are_those_of_the_datasets_page():
    slider = SEQUENCES["slider_depth"]
    assert slider.address(text=False) == "https://rpg.ifi.uzh.ch/datasets/davis/slider_depth.bag"
    assert slider.address(text=True) == "https://rpg.ifi.uzh.ch/datasets/davis/slider_depth.zip"


def test_a_bag_is_fetched_and_checked_and_an_archive_fetched(tmp_path):
    served = tmp_path / "served"
    served.mkdir()
    (served / "urban.bag").write_bytes(b"a bag")
    (served / "urban.zip").write_bytes(b"an archive")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=served)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        where = {"base": f"http://127.0.0.1:{server.server_address[1]}/", "schemes": frozenset({"http"})}
        urban = SEQUENCES["urban"]
        with pytest.raises(DownloadError, match=r"not the published file \(md5"):
            fetch_sequence(urban, tmp_path, **where)
        urban = replace(urban, md5=hashlib.md5(b"a bag").hexdigest())
        assert fetch_sequence(urban, tmp_path, **where).read_bytes() == b"a bag"
        assert fetch_sequence(urban, tmp_path, text=True, **where).read_bytes() == b"an archive"
        server.shutdown()
    assert urban.checksum(text=False) == Checksum("md5", hashlib.md5(b"a bag").hexdigest())
