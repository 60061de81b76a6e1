"""Downloading public data: to a partial file, checked against the pinned hash, moved into place when it is whole.

A set is resumed by skipping the files that are there; a changed file is never overwritten silently.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from safekeel import __version__
from safekeel.data.registry import LOCK_FILE, DataFile, DataSet, git_blob_id, read_lock, state_of
from safekeel.errors import DataError, EngineError, UsageError
from safekeel.files import atomic_open, atomic_write_json, make_folder, sha256_file

GITHUB, HUGGING_FACE = "https://raw.githubusercontent.com", "https://huggingface.co"
HUB_VARIABLE, TOKEN_VARIABLE = "HF_ENDPOINT", "HF_TOKEN"
"""The hub's own variables: another address of it (a mirror), and an account's token for gated sets."""
IDLE_SECONDS = 60.0  # our choice: how long a server may be silent
ATTEMPTS, PAUSE_SECONDS = 3, 2.0  # our choice, for 429, 5xx and broken connections
BROKEN = (urllib.error.URLError, ConnectionError, TimeoutError, ssl.SSLError, http.client.HTTPException)
_CHUNK_BYTES = 1 << 18
Progress = Callable[[str, int, int, float], None]


@dataclass(frozen=True)
class Fetcher:
    """Where to download from and how. Hashes are pinned, so any mirror is as good as the original."""

    github: str = GITHUB
    hub: str = field(default_factory=lambda: os.environ.get(HUB_VARIABLE, HUGGING_FACE))
    accept_unverified: bool = False
    overwrite: bool = False
    progress: Progress | None = None
    pause: float = PAUSE_SECONDS

    def url(self, data_set: DataSet, file: DataFile) -> str:
        """Where the file (or the archive it is in) is downloaded."""
        path = urllib.parse.quote(file.path)
        if data_set.huggingface:
            return f"{self.hub.rstrip('/')}/datasets/{data_set.huggingface}/resolve/{data_set.revision}/{path}"
        repository, commit = file.repository or data_set.repository, file.commit or data_set.commit
        return f"{self.github.rstrip('/')}/{repository}/{commit}/{path}"

    def fetch(self, data_set: DataSet, root: Path) -> list[Path]:
        """Download the files of a set that `root` lacks; returns the new ones.

        Raises:
            UsageError: a file has no pinned hash and `accept_unverified` is off.
            DataError: a file is changed and `overwrite` is off, what came has another hash, or the server has no such
                file or wants an account.
            EngineError: no connection, or it broke off `ATTEMPTS` times.
        """
        wanted = self._wanted(data_set, root)
        fetched: list[Path] = []
        for path in dict.fromkeys(file.path for file in wanted):
            group = [file for file in wanted if file.path == path]
            fetched += self._archive(data_set, group, root) if group[0].member else self._single(data_set, group, root)
        return fetched

    def _wanted(self, data_set: DataSet, root: Path) -> list[DataFile]:
        states = state_of(data_set, root).files
        wanted = []
        for file in data_set.files:
            path, state = data_set.local(file, root), states[f"{data_set.folder}/{file.file}"]
            if state == "changed" and path.is_file() and not self.overwrite:
                raise DataError(
                    f"{path} is not the pinned version ({_hash_text(file, path)}). Move it away, or replace it with "
                    "--overwrite."
                )
            if state in ("missing", "excerpt", "changed"):
                wanted.append(file)
        unverified = [file.file for file in wanted if not file.verified]
        if unverified and not self.accept_unverified:
            raise UsageError(
                f"{data_set.name}: {', '.join(unverified)} could not be seen by SafeKeel's authors, so no hash is "
                "pinned. Pass --accept-unverified to download what the server has; its hash goes to "
                f"{root / LOCK_FILE}."
            )
        return wanted

    def _single(self, data_set: DataSet, group: list[DataFile], root: Path) -> list[Path]:
        for file in group:
            target, url = data_set.local(file, root), self.url(data_set, file)
            make_folder(target.parent)
            with self._downloaded(url, target, data_set) as partial:
                _check(file, partial, url)
                partial.replace(target)
            if not file.verified:
                _lock(root, f"{data_set.folder}/{file.file}", url, target)
        return [data_set.local(file, root) for file in group]

    def _archive(self, data_set: DataSet, group: list[DataFile], root: Path) -> list[Path]:
        url, folder = self.url(data_set, group[0]), root / data_set.folder
        make_folder(folder)
        with self._downloaded(url, folder / Path(group[0].path).name, data_set) as partial:
            if data_set.archive_sha256 and (got := sha256_file(partial)) != data_set.archive_sha256:
                raise _mismatch(url, got, data_set.archive_sha256)
            with zipfile.ZipFile(partial) as archive:
                for file in group:
                    content = archive.read(file.member or "")
                    if file.sha256 and (got := hashlib.sha256(content).hexdigest()) != file.sha256:
                        raise _mismatch(f"{url} ({file.member})", got, file.sha256)
                    make_folder(data_set.local(file, root).parent)
                    with atomic_open(data_set.local(file, root)) as out:
                        out.write(content)
        return [data_set.local(file, root) for file in group]

    @contextmanager
    def _downloaded(self, url: str, target: Path, data_set: DataSet) -> Iterator[Path]:
        """The body at `url` in a partial file beside `target`, which is gone afterwards."""
        partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
        try:
            self._download(url, partial, data_set)
            yield partial
        finally:
            partial.unlink(missing_ok=True)

    def _download(self, url: str, partial: Path, data_set: DataSet) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._stream(url, partial, data_set)
            except urllib.error.HTTPError as error:
                error.close()
                if error.code != 429 and error.code < 500:
                    raise _refused(url, error.code, data_set) from error
                reason = f"the server answered {error.code} {error.reason}"
            except BROKEN as error:
                reason = f"{type(error).__name__}: {getattr(error, 'reason', None) or error}"
            except OSError as error:
                raise DataError(
                    f"{partial} cannot be written ({error.strerror}); free or name another disk."
                ) from error
            if attempt < ATTEMPTS:
                time.sleep(self.pause * attempt)
        raise EngineError(
            f"{url} could not be downloaded in {ATTEMPTS} attempts ({reason}). Check the network, name a mirror with "
            "--github or --hub, or save the file from another machine where `safekeel data list --json` names it; "
            "run the command again to continue."
        )

    def _stream(self, url: str, partial: Path, data_set: DataSet) -> None:
        request = urllib.request.Request(url, headers={"User-Agent": f"safekeel/{__version__}"})
        if data_set.gated and (token := os.environ.get(TOKEN_VARIABLE)):
            request.add_unredirected_header("Authorization", f"Bearer {token}")  # never sent on to another host
        with urllib.request.urlopen(request, timeout=IDLE_SECONDS) as answer, partial.open("wb") as out:
            path = urllib.parse.unquote(urllib.parse.urlsplit(url).path)
            total, done = int(answer.headers.get("Content-Length") or 0), 0
            while chunk := answer.read(_CHUNK_BYTES):
                out.write(chunk)
                done += len(chunk)
                if self.progress:
                    known = max(total, done + 1)  # an unknown length is always one byte ahead
                    self.progress(f"{Path(path).name} (kB)", done // 1000, known // 1000, 0.0)
        if done < total:
            raise ConnectionError(f"the connection broke off after {done} of {total} bytes")


def _check(file: DataFile, partial: Path, url: str) -> None:
    if not file.matches(partial):
        got = sha256_file(partial) if file.sha256 else git_blob_id(partial)
        raise _mismatch(url, got, file.sha256 or file.git_blob or "")


def _mismatch(url: str, got: str, expected: str) -> DataError:
    return DataError(
        f"{url} is not the pinned file: its hash is {got}, expected {expected}. Nothing was saved. A mirror or a proxy "
        "may have changed it: try another network, or --github/--hub."
    )


def _hash_text(file: DataFile, path: Path) -> str:
    if file.git_blob and not file.sha256:
        return f"git blob {git_blob_id(path)}, pinned {file.git_blob}"
    return f"sha256 {sha256_file(path)}, pinned {file.sha256 or 'in the lock file'}"


def _refused(url: str, code: int, data_set: DataSet) -> DataError:
    if code in (401, 403):
        return DataError(
            f"{url}: the server answered {code}: it wants an account that accepted the terms. Accept them at "
            f"{data_set.homepage} and set {TOKEN_VARIABLE} to your token."
        )
    return DataError(
        f"{url}: the server answered {code}. The file may have moved: look at {data_set.homepage}, save it by "
        "hand, and report it to SafeKeel."
    )


def _lock(root: Path, name: str, url: str, path: Path) -> None:
    entry = {
        "url": url,
        "sha256": sha256_file(path),
        "num_bytes": path.stat().st_size,
        "fetched": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    atomic_write_json(root / LOCK_FILE, dict(sorted((read_lock(root) | {name: entry}).items())))
