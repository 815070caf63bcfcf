from __future__ import annotations

import functools
import hashlib
import http.server
import threading
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from cista_ros.commands.main import app
from cista_ros.errors import RecordingError
from cista_ros.recordings.ecd import ECD_SEQUENCES, SEQUENCES, choose_sequences, fetch_sequence
from cista_ros.util.download import Checksum, DownloadError


def test_paper_and_all_select_groups_of_sequences():
    assert [s.name for s in choose_sequences(["paper"])] == list(ECD_SEQUENCES)
    assert len(choose_sequences(["all", "slider_depth"])) == len(SEQUENCES) == 27
    unknown = [s.name for s in SEQUENCES.values() if not s.checksum(text=False)]
    assert unknown == ["simulation_3planes", "simulation_3walls"], "nobody has published an MD5 of these"
    assert all(len(s.md5) == 32 and not s.checksum(text=True) for s in SEQUENCES.values() if s.md5)
    with pytest.raises(RecordingError, match=r"no sequence 'sliders'; expected one of boxes_6dof, .*, paper, or all"):
        choose_sequences(["sliders"])


@pytest.mark.parametrize(("options", "suffix", "size"), [([], "bag", "~17"), (["--text"], "zip", "-")])
def test_cista_ecd_lists_the_addresses_of_the_dataset(options, suffix, size):
    listed = CliRunner().invoke(app, ["ecd", "list", *options]).output
    line = next(line for line in listed.splitlines() if line.startswith("slider_depth"))
    address = f"https://rpg.ifi.uzh.ch/datasets/davis/slider_depth.{suffix}"
    assert line.split() == ["slider_depth", "Table", "1", size, "MiB", address]


def test_bags_are_downloaded_and_checked_and_archives_downloaded(tmp_path, monkeypatch):
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
        monkeypatch.setattr("cista_ros.recordings.ecd.BASE", f"http://127.0.0.1:{server.server_address[1]}/")
        monkeypatch.setattr("cista_ros.util.download.SCHEMES", {"http"})
        urban = SEQUENCES["urban"]
        with pytest.raises(DownloadError, match=r"not the published file \(md5"):
            fetch_sequence(urban, tmp_path)
        urban = replace(urban, md5=hashlib.md5(b"a bag").hexdigest())
        assert fetch_sequence(urban, tmp_path).read_bytes() == b"a bag"
        assert fetch_sequence(urban, tmp_path, text=True).read_bytes() == b"an archive"
        server.shutdown()
    assert urban.checksum(text=False) == Checksum("md5", hashlib.md5(b"a bag").hexdigest())
