"""Downloads against a local HTTP server with faults: nothing wrong is ever saved, nothing whole is fetched twice."""

from __future__ import annotations

import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from safekeel.data.fetch import ATTEMPTS, Fetcher
from safekeel.data.registry import LOCK_FILE, DataSet, git_blob_id, state_of
from safekeel.errors import DataError, EngineError, UsageError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
BODY = "问,答\n".encode() * 50_000  # more than one chunk


class Server:
    """Serves `files`; `faults` maps a path to what happens on its next requests; `requests` logs them."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[str]] = {}
        self.requests: list[tuple[str, str | None]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.requests.append((request.path, request.headers.get("Authorization")))
        faults = self.faults.get(request.path, [])
        fault = faults.pop(0) if faults else ""
        body = self.files.get(request.path)
        if fault.startswith("to "):
            request.send_response(302)
            request.send_header("Location", fault.removeprefix("to "))
            request.end_headers()
        elif fault.isdigit() or body is None:
            request.send_error(int(fault or 404))
        else:
            request.send_response(200)
            request.send_header("Content-Length", str(len(body)))
            request.end_headers()
            request.wfile.write(body[: len(body) // 2] if fault == "cut" else body)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()


def data_set(files: list[dict], **fields: object) -> DataSet:
    source = {} if "huggingface" in fields else {"repository": "we/a", "commit": COMMIT}
    return DataSet.model_validate(
        {
            "name": "a-set",
            "title": "A set",
            "languages": ["zh"],
            "licence": "MIT",
            "training_allowed": True,
            "role": "safety",
            "citation": "We 2025",
            "homepage": "https://example.org/a",
            "folder": "a",
            "files": files,
            **source,
            **fields,
        }
    )


def pinned(name: str, body: bytes = BODY) -> dict:
    return {"file": name, "path": f"data/{name}", "sha256": hashlib.sha256(body).hexdigest()}


def path_of(name: str) -> str:
    return f"/we/a/{COMMIT}/data/{name}"


def fetcher(server: Server, **fields: object) -> Fetcher:
    return Fetcher(github=server.url, hub=server.url, pause=0.0, **fields)  # type: ignore[arg-type]


def leftovers(root: Path) -> list[str]:
    return [path.name for path in root.rglob("*.partial")]


def test_download_then_skip_what_is_there(server: Server, tmp_path: Path) -> None:
    server.files = {path_of("x.csv"): BODY, path_of("sub/y.csv"): b"y"}
    wanted = data_set([pinned("x.csv"), pinned("sub/y.csv", b"y")])
    seen: list[tuple] = []
    progress = lambda *row: seen.append(row)  # noqa: E731
    assert fetcher(server, progress=progress).fetch(wanted, tmp_path) == [
        tmp_path / "a/x.csv",
        tmp_path / "a/sub/y.csv",
    ]
    assert (tmp_path / "a/x.csv").read_bytes() == BODY and state_of(wanted, tmp_path).complete
    assert seen[0][0] == "x.csv (kB)" and seen[0][1] < seen[0][2] == len(BODY) // 1000
    assert fetcher(server).fetch(wanted, tmp_path) == []
    (tmp_path / "a/x.csv").unlink()
    assert fetcher(server).fetch(wanted, tmp_path) == [tmp_path / "a/x.csv"]
    assert [path for path, _ in server.requests].count(path_of("sub/y.csv")) == 1


def test_wrong_bytes_are_not_saved_and_both_hashes_are_told(server: Server, tmp_path: Path) -> None:
    server.files[path_of("x.csv")] = b"other"
    wanted = pinned("x.csv")
    got = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(DataError, match=f"its hash is {got}, expected {wanted['sha256']}"):
        fetcher(server).fetch(data_set([wanted]), tmp_path)
    assert not (tmp_path / "a/x.csv").exists() and leftovers(tmp_path) == []


def test_a_changed_local_file_is_kept_unless_told_otherwise(server: Server, tmp_path: Path) -> None:
    server.files[path_of("x.csv")] = BODY
    wanted = data_set([pinned("x.csv")])
    (tmp_path / "a").mkdir()
    (tmp_path / "a/x.csv").write_bytes(b"mine")
    with pytest.raises(DataError, match=r"not the pinned version.*--overwrite"):
        fetcher(server).fetch(wanted, tmp_path)
    assert (tmp_path / "a/x.csv").read_bytes() == b"mine" and server.requests == []
    fetcher(server, overwrite=True).fetch(wanted, tmp_path)
    assert (tmp_path / "a/x.csv").read_bytes() == BODY


@pytest.mark.parametrize(
    ("code", "message"), [("404", "answered 404. The file may have moved"), ("401", "HF_TOKEN"), ("403", "HF_TOKEN")]
)
def test_a_refusal_is_not_repeated(server: Server, tmp_path: Path, code: str, message: str) -> None:
    server.files[path_of("x.csv")] = BODY
    server.faults[path_of("x.csv")] = [code] * 9
    with pytest.raises(DataError, match=message):
        fetcher(server).fetch(data_set([pinned("x.csv")]), tmp_path)
    assert len(server.requests) == 1 and leftovers(tmp_path) == []


@pytest.mark.parametrize("fault", ["cut", "500", "503", "429"])
def test_passing_faults_are_survived(server: Server, tmp_path: Path, fault: str) -> None:
    server.files[path_of("x.csv")] = BODY
    server.faults[path_of("x.csv")] = [fault] * (ATTEMPTS - 1)
    fetcher(server).fetch(data_set([pinned("x.csv")]), tmp_path)
    assert (tmp_path / "a/x.csv").read_bytes() == BODY and len(server.requests) == ATTEMPTS


def test_a_body_that_is_always_cut_off_is_an_engine_error(server: Server, tmp_path: Path) -> None:
    server.files[path_of("x.csv")] = BODY
    server.faults[path_of("x.csv")] = ["cut"] * 9
    with pytest.raises(EngineError, match=f"{ATTEMPTS} attempts.*broke off after {len(BODY) // 2} of {len(BODY)}"):
        fetcher(server).fetch(data_set([pinned("x.csv")]), tmp_path)
    assert not (tmp_path / "a/x.csv").exists() and leftovers(tmp_path) == []


def test_no_network_is_an_engine_error_with_exit_code_4(server: Server, tmp_path: Path) -> None:
    server.http.server_close()
    with pytest.raises(EngineError, match=r"could not be downloaded.*run the command again") as caught:
        fetcher(server).fetch(data_set([pinned("x.csv")]), tmp_path)
    assert caught.value.exit_code == 4


def test_unverified_files_want_consent_and_are_locked(server: Server, tmp_path: Path) -> None:
    hub = "/datasets/we/b/resolve/main/data/x-y.csv"
    server.files[hub] = BODY
    wanted = data_set([{"file": "x.csv", "path": "data/x-y.csv"}], huggingface="we/b", revision="main")
    with pytest.raises(UsageError, match=r"x\.csv could not be seen.*--accept-unverified"):
        fetcher(server).fetch(wanted, tmp_path)
    assert server.requests == []
    fetcher(server, accept_unverified=True).fetch(wanted, tmp_path)
    entry = json.loads((tmp_path / LOCK_FILE).read_text())["a/x.csv"]
    assert entry["sha256"] == hashlib.sha256(BODY).hexdigest() and entry["num_bytes"] == len(BODY)
    assert state_of(wanted, tmp_path).complete
    (tmp_path / "a/x.csv").write_bytes(b"changed later")
    assert state_of(wanted, tmp_path).summary == "changed"


def test_a_file_known_by_its_git_id_is_checked_by_it(server: Server, tmp_path: Path) -> None:
    sample = tmp_path / "sample"
    sample.write_bytes(BODY)
    wanted = data_set([{"file": "x.csv", "path": "data/x.csv", "git_blob": git_blob_id(sample)}])
    server.files[path_of("x.csv")] = b"other"
    with pytest.raises(DataError, match="is not the pinned file"):
        fetcher(server).fetch(wanted, tmp_path)
    server.files[path_of("x.csv")] = BODY
    assert fetcher(server).fetch(wanted, tmp_path) == [tmp_path / "a/x.csv"]


def test_members_come_out_of_one_archive(server: Server, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("data/x.csv", BODY)
        archive.writestr("data/y.csv", b"y")
    files = [
        pinned("x.csv") | {"path": "m.zip", "member": "data/x.csv"},
        pinned("y.csv", b"y") | {"path": "m.zip", "member": "data/y.csv"},
    ]
    server.files[f"/we/a/{COMMIT}/m.zip"] = buffer.getvalue()
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    wanted = data_set(files, archive_sha256=digest)
    assert len(fetcher(server).fetch(wanted, tmp_path)) == 2 and len(server.requests) == 1
    assert state_of(wanted, tmp_path).complete and leftovers(tmp_path) == []
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["x.csv", "y.csv"]
    with pytest.raises(DataError, match="is not the pinned file"):
        fetcher(server).fetch(data_set(files, archive_sha256="0" * 64), tmp_path / "other")


def test_the_token_goes_to_the_hub_only(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    hub = "/datasets/we/b/resolve/main/x.csv"
    server.faults[hub] = [f"to {server.url}/elsewhere"]
    server.files[hub], server.files["/elsewhere"] = b"", BODY
    files = [pinned("x.csv") | {"path": "x.csv"}]
    wanted = data_set(files, huggingface="we/b", revision="main", gated=True)
    fetcher(server).fetch(wanted, tmp_path)
    assert server.requests == [(hub, "Bearer secret"), ("/elsewhere", None)]
    assert "secret" not in "".join(path.read_text("utf-8") for path in tmp_path.rglob("*") if path.is_file())
    server.requests.clear()
    open_set = data_set(files, huggingface="we/b", revision="main", folder="b")
    server.files[hub] = BODY
    fetcher(server).fetch(open_set, tmp_path)
    assert server.requests == [(hub, None)]
