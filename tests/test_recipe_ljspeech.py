"""The download of LJSpeech, against a small server on this machine."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile

from speechvae.config import Config
from speechvae.corpus import Corpus, read_corpus
from speechvae.errors import SpeechVAEError


@pytest.fixture(scope="module")
def recipe(recipe_script: Callable[[str], ModuleType]) -> ModuleType:
    return recipe_script("ljspeech/download.py")


def archive(extra: str | None = None) -> bytes:
    wav = io.BytesIO()
    soundfile.write(wav, np.random.default_rng(0).normal(0, 0.1, 22050), 22050, format="WAV")
    files = {"LJSpeech-1.1/metadata.csv": b"LJ001-0001|Dr. No|Doctor No\n"}
    files["LJSpeech-1.1/wavs/LJ001-0001.wav"] = wav.getvalue()
    if extra is not None:
        files[extra] = b"evil"
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:bz2") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


class Handler(BaseHTTPRequestHandler):
    """Serves one file; `cut` breaks the connection after so many bytes, `ranges` allows resuming."""

    def __init__(self, site: Site, *args: object) -> None:
        self.site = site
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.site.asked.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.site.ranges else 0
        if start >= len(self.site.data):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        body = self.site.data[start:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if self.site.cut is None else body[: self.site.cut])
        self.site.cut = None

    def log_message(self, *_: object) -> None:
        pass


class Site:
    def __init__(self, data: bytes) -> None:
        self.data, self.cut, self.ranges = data, None, True  # type: bytes, int | None, bool
        self.asked: list[str | None] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, self))
        self.url = f"http://127.0.0.1:{self.server.server_port}/LJSpeech-1.1.tar.bz2"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site(archive())
    yield site
    site.server.shutdown()
    site.server.server_close()


def test_fetch_and_read(recipe: ModuleType, site: Site, tmp_path: Path) -> None:
    corpus = recipe.fetch(tmp_path / "data", site.url, site.sha256, progress=False)
    (utterance,) = read_corpus(Corpus(corpus, speaker="lj"))
    assert (utterance.id, utterance.text, utterance.speaker) == ("LJ001-0001", "Doctor No", "lj")
    assert utterance.audio is not None and utterance.audio.is_file()
    assert [p.name for p in (tmp_path / "data").iterdir()] == ["LJSpeech-1.1"]  # the archive is gone
    recipe.fetch(tmp_path / "data", site.url, site.sha256, progress=False)
    assert len(site.asked) == 1  # nothing is fetched twice


def test_an_interrupted_download_goes_on(recipe: ModuleType, site: Site, tmp_path: Path) -> None:
    site.cut = 1000
    with pytest.raises(SpeechVAEError, match="broke off.*resumes"):
        recipe.fetch(tmp_path, site.url, site.sha256, progress=False)
    assert (tmp_path / "LJSpeech-1.1.tar.bz2.part").stat().st_size == 1000
    assert recipe.fetch(tmp_path, site.url, site.sha256, progress=False).is_dir()
    assert site.asked == [None, "bytes=1000-"]


def test_a_server_that_cannot_resume(recipe: ModuleType, site: Site, tmp_path: Path) -> None:
    site.ranges = False
    (tmp_path / "LJSpeech-1.1.tar.bz2.part").write_bytes(b"the beginning of something else")
    assert recipe.fetch(tmp_path, site.url, site.sha256, progress=False).is_dir()


def test_a_complete_partial_file(recipe: ModuleType, site: Site, tmp_path: Path) -> None:
    (tmp_path / "LJSpeech-1.1.tar.bz2.part").write_bytes(site.data)
    assert recipe.fetch(tmp_path, site.url, site.sha256, progress=False).is_dir()


def test_a_damaged_archive_is_deleted_and_never_unpacked(recipe: ModuleType, site: Site, tmp_path: Path) -> None:
    good = site.sha256
    site.data = site.data[:-1] + b"?"
    with pytest.raises(SpeechVAEError, match=f"instead of {good}"):
        recipe.fetch(tmp_path, site.url, good, progress=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("member", ["../outside.txt", "/tmp/outside.txt"])
def test_members_cannot_leave_the_folder(recipe: ModuleType, site: Site, tmp_path: Path, member: str) -> None:
    site.data = archive(member)
    try:
        recipe.fetch(tmp_path / "data", site.url, site.sha256, progress=False)
    except SpeechVAEError as error:
        assert "cannot be unpacked" in str(error)
        assert not (tmp_path / "data" / "LJSpeech-1.1").exists()
    assert not (tmp_path / "outside.txt").exists() and not Path("/tmp/outside.txt").exists()
    assert not (tmp_path / "data" / "outside.txt").exists()


def test_no_site(recipe: ModuleType, tmp_path: Path, site: Site) -> None:
    with pytest.raises(SpeechVAEError, match="broke off"):
        recipe.fetch(tmp_path, "http://127.0.0.1:9/x.tar.bz2", "0", progress=False)


def test_config_and_checksum(recipe: ModuleType, repo: Path) -> None:
    assert Config.load(repo / "recipes" / "ljspeech" / "config.yaml").default_speaker == "lj"
    assert recipe.URL.startswith("https://data.keithito.com/")
    assert len(bytes.fromhex(recipe.SHA256)) == 32
