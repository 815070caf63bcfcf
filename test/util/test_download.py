"""Downloads, against a real server on the loopback address."""

from __future__ import annotations

import errno
import hashlib
import http.server
import os
import shutil
import socket
import ssl
import subprocess
import threading
from collections import namedtuple

import pytest

from cista_ros.errors import CheckpointError
from cista_ros.networks.weights import PUBLISHED, PublishedWeights, cached_weights, fetch_weights
from cista_ros.util import download as module
from cista_ros.util.cache import CacheError, cache_folder
from cista_ros.util.download import Checksum, DownloadError, download, remote_size

CONTENT = bytes(range(256)) * 4096
SHA256 = Checksum("sha256", hashlib.sha256(CONTENT).hexdigest())


class Server(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT; the path selects what it does wrong. Writes down each request's Range."""

    ranges: list[str | None]

    def do_GET(self):
        self.ranges.append(self.headers.get("Range"))
        if self.path == "/gone":
            return self.send_error(404)
        if self.path == "/elsewhere":
            self.send_response(302)
            self.send_header("Location", "ftp://example.org/file")
            return self.end_headers()
        if self.path == "/nowhere":
            self.send_response(302)
            self.send_header("Location", "https://[::1/file")
            return self.end_headers()
        begin = int(self.headers["Range"][6:-1]) if "Range" in self.headers and self.path != "/no-ranges" else 0
        if begin >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        body = CONTENT[begin:]
        self.send_response(206 if begin else 200)
        if begin and self.path != "/no-place":
            self.send_header("Content-Range", f"bytes {begin}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if self.path == "/breaks" else body)

    def do_HEAD(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    # The loopback server has no certificate; outside tests only https is allowed.
    monkeypatch.setattr(module, "SCHEMES", {"http"})
    handler = type("Handler", (Server,), {"ranges": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        running.address = f"http://127.0.0.1:{running.server_address[1]}"
        running.ranges = handler.ranges
        yield running
        running.shutdown()


def test_a_file_comes_whole_is_checked_and_not_fetched_twice(server, tmp_path):
    seen = []
    path = download(f"{server.address}/a", tmp_path / "new" / "a", SHA256, lambda *n: seen.append(n))
    assert path.read_bytes() == CONTENT and not path.with_name("a.part").exists()
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert download(f"{server.address}/a", path, SHA256) == path
    assert server.ranges == [None]


def test_an_interrupted_download_is_resumed(server, tmp_path):
    path = tmp_path / "a"
    with pytest.raises(DownloadError, match=r"broke off .*run the command again"):
        download(f"{server.address}/breaks", path, SHA256)
    half = len(CONTENT) // 2
    assert not path.exists() and path.with_name("a.part").stat().st_size == half
    download(f"{server.address}/a", path, SHA256)
    assert path.read_bytes() == CONTENT and server.ranges[1] == f"bytes={half}-"


def test_servers_that_know_no_ranges_send_it_all_again(server, tmp_path):
    (tmp_path / "a.part").write_bytes(b"x" * 1000)
    assert download(f"{server.address}/no-ranges", tmp_path / "a", SHA256).read_bytes() == CONTENT


def test_a_part_that_is_whole_is_only_checked(server, tmp_path):
    (tmp_path / "a.part").write_bytes(CONTENT)
    assert download(f"{server.address}/a", tmp_path / "a", SHA256).read_bytes() == CONTENT
    (tmp_path / "b.part").write_bytes(CONTENT + b"more")
    with pytest.raises(DownloadError, match="of another file; it was removed"):
        download(f"{server.address}/a", tmp_path / "b", SHA256)
    assert download(f"{server.address}/a", tmp_path / "b", SHA256).read_bytes() == CONTENT


def test_a_file_with_a_wrong_checksum_is_removed_and_reported(server, tmp_path):
    (tmp_path / "a.part").write_bytes(b"y" * 1000)  # the start of something else: the whole then hashes wrong
    with pytest.raises(DownloadError, match=rf"not the published file \(sha256 \w+, expected {SHA256.value}\)"):
        download(f"{server.address}/a", tmp_path / "a", SHA256)
    assert not any(tmp_path.iterdir())


def test_a_damaged_file_of_before_is_fetched_again(server, tmp_path):
    (tmp_path / "a").write_bytes(b"damaged")
    assert download(f"{server.address}/a", tmp_path / "a", SHA256).read_bytes() == CONTENT


def test_only_https_is_fetched_also_after_a_redirection(server, tmp_path, monkeypatch):
    with pytest.raises(DownloadError, match=r"ftp://example.org/file: only https"):
        download(f"{server.address}/elsewhere", tmp_path / "a", SHA256)
    monkeypatch.undo()
    for ask in (remote_size, lambda address: download(address, tmp_path / "a", SHA256)):
        with pytest.raises(DownloadError, match="only https addresses"):
            ask(f"{server.address}/a")
    assert server.ranges == [None]  # of the redirection only


def test_a_missing_server_or_file_is_a_one_line_error(server, tmp_path):
    with pytest.raises(DownloadError, match="the server answers 404"):
        download(f"{server.address}/gone", tmp_path / "a", SHA256)
    with pytest.raises(DownloadError, match=r"cannot be reached .*is there a network"):
        download("http://127.0.0.1:9/a", tmp_path / "a", SHA256)


def test_an_invalid_redirection_names_the_requested_address(server, tmp_path):
    leads = r"an address that cannot be read \(Invalid IPv6 URL\)"
    with pytest.raises(DownloadError, match=rf"^{server.address}/nowhere: is, or leads to, {leads}"):
        download(f"{server.address}/nowhere", tmp_path / "a", SHA256)
    for ask in (remote_size, lambda address: download(address, tmp_path / "a", SHA256)):
        with pytest.raises(DownloadError, match=rf"^https://\[::1/a: is, or leads to, {leads}"):
            ask("https://[::1/a")


@pytest.fixture
def garbling_address(tmp_path, monkeypatch):
    """Of an HTTPS server that breaks its TLS after half of CONTENT."""
    if not shutil.which("openssl"):
        pytest.skip("needs openssl, for a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    command += ["-keyout", key, "-out", certificate, "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(command, check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def serve(listening):
        with listening.accept()[0] as plain, context.wrap_socket(plain, server_side=True) as secure:
            secure.recv(4096)
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(CONTENT)}\r\n\r\n".encode()
            secure.sendall(head + CONTENT[: len(CONTENT) // 2])
            with socket.socket(fileno=secure.detach()) as raw:
                raw.sendall(b"this is no TLS record" * 100)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,))
        thread.start()
        yield f"https://127.0.0.1:{listening.getsockname()[1]}/a"
        thread.join(10)


def test_a_tls_failure_during_a_download_names_the_address(garbling_address, tmp_path):
    with pytest.raises(DownloadError, match=rf"^{garbling_address}: broke off \(.*SSL.*run the command again"):
        download(garbling_address, tmp_path / "a", SHA256)
    assert (tmp_path / "a.part").stat().st_size > 0


def test_a_server_is_asked_for_sizes(server):
    assert remote_size(f"{server.address}/a") == len(CONTENT)
    with pytest.raises(DownloadError, match="cannot be reached"):
        remote_size("http://127.0.0.1:9/a")


def test_a_full_disk_is_reported_before_and_while_writing(server, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage(10, 10, 0))
        with pytest.raises(DownloadError, match=rf"needs {len(CONTENT)} bytes, but .* has only 0 free"):
            download(f"{server.address}/a", tmp_path / "a", SHA256)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "a.part"))

    monkeypatch.setattr(module, "_copy", full)
    with pytest.raises(OSError, match="No space left on device"):
        download(f"{server.address}/a", tmp_path / "a", SHA256)


def test_checksums_are_those_of_the_tools_that_everybody_has(tmp_path):
    (tmp_path / "a").write_bytes(b"hello\n")
    assert Checksum("git", "").of(tmp_path / "a") == "ce013625030ba8dba906f756967f9e9ca394464a"  # git hash-object
    assert Checksum("md5", "").of(tmp_path / "a") == "b1946ac92492d2347c6235b4d2611184"  # md5sum


def test_environment_variables_set_the_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("CISTA_CACHE", str(tmp_path / "here"))
    assert cache_folder() == tmp_path / "here"
    monkeypatch.delenv("CISTA_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "cista_ros"


def test_without_a_home_directory_the_error_names_the_variable_to_set(monkeypatch):
    for name in ("CISTA_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 54321)  # of no passwd entry
    with pytest.raises(CacheError, match="set CISTA_CACHE"):
        cache_folder()


def test_a_part_of_which_it_is_not_known_where_it_belongs_is_not_used(server, tmp_path):
    (tmp_path / "a.part").write_bytes(CONTENT[:1000])
    download(f"{server.address}/no-place", tmp_path / "a", None)
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000-", None]


def test_published_weights_are_fetched_by_name(server, tmp_path, monkeypatch):
    monkeypatch.setenv("CISTA_CACHE", str(tmp_path))
    weights = {"firenet": PublishedWeights(f"{server.address}/a.pth", SHA256, "a test")}
    monkeypatch.setattr("cista_ros.networks.weights.PUBLISHED", weights)
    path = fetch_weights("firenet")
    assert path == cached_weights("firenet") == tmp_path / "weights" / "firenet.pth"
    assert path.read_bytes() == CONTENT
    with pytest.raises(CheckpointError, match="no published weights are called 'x'; expected one of firenet"):
        fetch_weights("x")


def test_addresses_are_https_and_pinned_to_a_commit():
    for weights in PUBLISHED.values():
        assert weights.address.startswith("https://raw.githubusercontent.com/")
        assert len(weights.address.split("/")[5]) == 40
        assert len(weights.checksum.value) == {"sha256": 64, "git": 40}[weights.checksum.kind]


def test_the_checksums_given_are_those_of_the_files_at_hand(shared_file):
    for name in ("authors-cista-tc", "authors-firenet"):
        checksum = PUBLISHED[name].checksum
        assert checksum.of(shared_file(f"weights/{name}.pth.tar")) == checksum.value
