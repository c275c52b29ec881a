"Datasets over the network, with a server of our own."

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from seqrec_nb.data import DataError, fetch, load, registry

GOOD = b"1 1 2 3\n2 2 3 1\n"
SHA = hashlib.sha256(GOOD).hexdigest()


class Handler(BaseHTTPRequestHandler):
    "/good as it should be, /changed another file, /cut breaks off halfway, anything else is missing."

    def do_GET(self):
        self.server.asked.append(self.path)
        body = {"/good": GOOD, "/changed": GOOD + b"3 1 2 3\n", "/cut": GOOD}.get(self.path)
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        if body:
            self.wfile.write(body[:7] if self.path == "/cut" else body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.delenv("SEQREC_DATA", raising=False)
    monkeypatch.setenv("SEQREC_CACHE", str(tmp_path / "cache"))
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as s:
        s.asked, s.url = [], f"http://127.0.0.1:{s.server_port}"
        threading.Thread(target=s.serve_forever, daemon=True).start()
        yield s
        s.shutdown()


def cached(tmp_path):
    return sorted(p.name for p in (tmp_path / "cache").rglob("*")) if (tmp_path / "cache").exists() else []


def test_downloaded_once_then_kept(server, tmp_path):
    path = fetch("a.txt", server.url + "/good", SHA)
    assert path.read_bytes() == GOOD and cached(tmp_path) == ["a.txt"]
    assert fetch("a.txt", server.url + "/good", SHA) == path and server.asked == ["/good"]
    # a cache that went bad is fetched anew
    path.write_bytes(b"damaged")
    assert fetch("a.txt", server.url + "/good", SHA).read_bytes() == GOOD and len(server.asked) == 2


@pytest.mark.parametrize(
    "path, says",
    [("/changed", "is not the registered a.txt"), ("/cut", "a.txt"), ("/gone", "cannot be reached")],
)
def test_nothing_is_kept_of_a_bad_download(server, tmp_path, path, says):
    with pytest.raises(DataError, match=says) as e:
        fetch("a.txt", server.url + path, SHA)
    assert "SEQREC_DATA" in str(e.value) and server.url + path in str(e.value)
    assert cached(tmp_path) == []


def test_a_bad_download_leaves_the_old_file(server, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "a.txt").write_bytes(b"old")
    with pytest.raises(DataError):
        fetch("a.txt", server.url + "/changed", SHA)
    assert cached(tmp_path) == ["a.txt"] and (tmp_path / "cache" / "a.txt").read_bytes() == b"old"


def test_a_folder_of_files_comes_first(server, tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.txt").write_bytes(GOOD)
    monkeypatch.setenv("SEQREC_DATA", str(tmp_path / "mine"))
    assert fetch("a.txt", server.url + "/good", SHA) == tmp_path / "mine" / "a.txt" and server.asked == []
    # what the folder lacks is downloaded
    assert fetch("b.txt", server.url + "/good", SHA).parent == tmp_path / "cache"


def test_load_goes_through_all_of_it(server, tmp_path, monkeypatch):
    entry = {"file": "Beauty.txt", "url": server.url + "/good", "sha256": SHA}
    monkeypatch.setattr("seqrec_nb.data.registry", lambda: {**registry(), "beauty": entry})
    ds = load("beauty")
    assert [s.tolist() for s in ds] == [[1, 2, 3], [2, 3, 1]] and cached(tmp_path) == ["Beauty.txt"]
