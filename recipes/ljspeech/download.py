"""Fetch LJSpeech 1.1 (2.6 GB) from its author's site, verify it and unpack it.

    python recipes/ljspeech/download.py DIR

leaves DIR/LJSpeech-1.1 with metadata.csv and wavs/. An interrupted download goes on where it stopped; nothing is
unpacked before the checksum of the whole archive is right; an unpacked corpus is left alone.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
import tarfile
import urllib.error
import urllib.request
from pathlib import Path

from speechvae.errors import SpeechVAEError

URL = "https://data.keithito.com/data/speech/LJSpeech-1.1.tar.bz2"
SHA256 = "be1a30453f28eb8dd26af4101ae40cbf2c50413b1bb21936cbcdc6fae3de8aa5"
FOLDER = "LJSpeech-1.1"
BLOCK = 1 << 20


def fetch(folder: str | Path, url: str = URL, sha256: str = SHA256, name: str = FOLDER, progress: bool = True) -> Path:
    """Download, verify and unpack `url`; the path of the corpus `folder`/`name`.

    Raises:
        SpeechVAEError: the site cannot be reached or broke off (run it again: it resumes), the checksum is wrong
            (the file is deleted), or the archive has unsafe members or lacks `name`.
    """
    folder = Path(folder)
    corpus = folder / name
    if corpus.is_dir():
        return corpus
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / url.rsplit("/", 1)[-1]
    if not archive.is_file():
        part = archive.with_name(archive.name + ".part")
        download(url, part, progress)
        part.rename(archive)
    verify(archive, sha256, progress)
    unpack(archive, corpus, progress)
    archive.unlink()
    return corpus


def download(url: str, part: Path, progress: bool = True) -> None:
    """Append what is missing of `url` to `part`; the partial file stays if the connection breaks."""
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            if have and reply.status != 206:
                have = 0  # the server does not resume: from the beginning
            length = reply.headers.get("Content-Length")
            total = None if length is None else have + int(length)
            with part.open("ab" if have else "wb") as file, _bar(part.name, total, have, progress) as bar:
                while block := reply.read(BLOCK):
                    file.write(block)
                    bar.update(len(block))
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing is missing: the last run stopped between the last byte and the renaming
            return
        raise SpeechVAEError(f"{url} answered {error.code} {error.reason}") from error
    except (urllib.error.URLError, OSError) as error:
        raise SpeechVAEError(f"the download of {url} broke off: {error}. Run it again: it resumes") from error
    size = part.stat().st_size
    if total is not None and size < total:
        raise SpeechVAEError(f"the download of {url} broke off at {size} of {total} bytes. Run it again: it resumes")


def verify(archive: Path, sha256: str, progress: bool = True) -> None:
    """Raise and delete `archive` unless its SHA-256 is `sha256`."""
    digest = hashlib.sha256()
    with archive.open("rb") as file, _bar("verify", archive.stat().st_size, 0, progress) as bar:
        while block := file.read(BLOCK):
            digest.update(block)
            bar.update(len(block))
    if digest.hexdigest() != sha256:
        archive.unlink()
        raise SpeechVAEError(f"{archive.name} has the SHA-256 {digest.hexdigest()} instead of {sha256}: it was damaged "
                             "on its way or replaced, and has been deleted. Run it again to fetch it anew")


def unpack(archive: Path, corpus: Path, progress: bool = True) -> None:
    """Extract `archive` beside `corpus`, which appears whole or not at all; members may not leave the folder."""
    part = corpus.with_name(f".{corpus.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        with (
            archive.open("rb") as raw,
            _bar("unpack", archive.stat().st_size, 0, progress) as bar,
            tarfile.open(fileobj=raw) as tar,
        ):
            for member in tar:
                tar.extract(member, part, filter="data")
                bar.update(raw.tell() - bar.n)
        if not (part / corpus.name).is_dir():
            raise SpeechVAEError(f"{archive.name} holds no folder {corpus.name}")
        (part / corpus.name).rename(corpus)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise SpeechVAEError(f"{archive} cannot be unpacked: {error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _bar(title: str, total: int | None, done: int, progress: bool):  # type: ignore[no-untyped-def]
    from tqdm import tqdm

    return tqdm(desc=title, total=total, initial=done, unit="B", unit_scale=True, disable=not progress)


def main() -> None:
    parser = argparse.ArgumentParser(description="Fetch LJSpeech 1.1 (2.6 GB, public domain).")
    parser.add_argument("folder", nargs="?", default="data", help="where to put it (data)")
    try:
        print(fetch(parser.parse_args().folder))
    except SpeechVAEError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
