"""Cached features, batches and the order in which they are trained on.

The batch of a step depends on (seed, step) alone, so a resumed run sees exactly what an uninterrupted one sees.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from speechvae.audio import LogMel, load, resample, track_f0
from speechvae.config import AudioConfig, TrainConfig
from speechvae.errors import SpeechVAEError
from speechvae.nn.batch import Batch


def feature_path(work: str | Path, utterance_id: str, kind: str = "features") -> Path:
    """Where a clip's tensors lie: `kind` is "features" or "reconstructions"."""
    return Path(work) / kind / f"{quote(utterance_id, safe='')}.safetensors"


def cache_features(
    row: dict[str, Any], cfg: AudioConfig, work: str | Path, wav: np.ndarray | None = None
) -> Path:
    """Write the features of one manifest row: mel [M, T] (half), wav [T * hop] (int16), f0 [T] (Hz, 0 = unvoiced).

    `wav`: the samples, already trimmed, levelled and at the features' rate; otherwise the row's `audio` file is read
    and its `start`, `end` (s) and `gain` are applied. A file with the same fingerprint is kept.
    """
    path = feature_path(work, row["id"])
    if path.is_file():
        try:
            with safe_open(str(path), "pt") as f:
                if (f.metadata() or {}).get("fingerprint") == cfg.fingerprint():
                    return path
        except SafetensorError:
            pass
    if wav is None:
        wav, rate = load(row["audio"])
        start, end = round(row.get("start", 0.0) * rate), round(row.get("end", len(wav) / rate) * rate)
        wav = resample(wav[start:end], rate, cfg.sample_rate) * row.get("gain", 1.0)
    wav = np.clip(wav, -1.0, 1.0)
    wav = wav[: len(wav) // cfg.hop * cfg.hop]
    samples = torch.from_numpy(np.ascontiguousarray(wav, dtype=np.float32))
    tensors = {
        "mel": LogMel(cfg)(samples[None])[0].half().contiguous(),
        "wav": (samples * 32767).round().to(torch.int16),
        "f0": torch.from_numpy(track_f0(wav, cfg.sample_rate, cfg.hop)),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    tmp = path.with_suffix(f".{os.getpid()}.part")
    save_file(tensors, str(tmp), metadata={"fingerprint": cfg.fingerprint()})
    os.replace(tmp, path)
    return path


def read_manifest(work: str | Path, split: str | None = None) -> list[dict[str, Any]]:
    """The rows of WORK/manifest.jsonl, those of one split if it is given."""
    path = Path(work) / "manifest.jsonl"
    if not path.is_file():
        raise SpeechVAEError(f"no manifest at {path}: run `speechvae prepare --work {work}` first")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return rows if split is None else [r for r in rows if r["split"] == split]


def read_names(work: str | Path, what: str) -> list[str]:
    """The list in WORK/symbols.json or WORK/speakers.json."""
    path = Path(work) / f"{what}.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise SpeechVAEError(f"{path} cannot be read ({e}): run `speechvae prepare` first") from e
    return list(data[what] if isinstance(data, dict) else data)


class BatchOrder:
    """Which utterances make up the batch of each step: shuffled by epoch, with like lengths together."""

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int, bucket: int = 8) -> None:
        if not lengths:
            raise SpeechVAEError("no utterances to train on: look at report.json of `speechvae prepare`")
        self.lengths, self.batch_size, self.seed, self.bucket = np.asarray(lengths), batch_size, seed, bucket
        self.per_epoch = max(1, len(lengths) // batch_size)
        self._epoch, self._batches = -1, []  # type: int, list[np.ndarray]

    def __call__(self, step: int) -> np.ndarray:
        """Indices of the utterances of the batch of `step`."""
        epoch, position = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, self._shuffle(epoch)
        return self._batches[position]

    def _shuffle(self, epoch: int) -> list[np.ndarray]:
        rng = np.random.default_rng((self.seed, epoch))
        order = rng.permutation(len(self.lengths))
        chunk = self.batch_size * self.bucket
        order = np.concatenate(
            [
                part[np.argsort(self.lengths[part], kind="stable")]
                for part in (order[i : i + chunk] for i in range(0, len(order), chunk))
            ]
        )
        size = min(self.batch_size, len(order))
        batches = [order[i * size : (i + 1) * size] for i in range(self.per_epoch)]
        return [batches[i] for i in rng.permutation(len(batches))]


class UtteranceBatches(torch.utils.data.Dataset[Batch]):
    """Whole utterances: item `step` is the batch of that step."""

    def __init__(
        self, work: str | Path, rows: list[dict[str, Any]], audio: AudioConfig, train: TrainConfig,
        symbols: dict[str, int], speakers: list[str], durations: bool,
        sentences: Mapping[str, Tensor] | None = None,
    ) -> None:  # fmt: skip
        """`sentences`: an embedding [E] of each text, where the model wants them."""
        self.sentences = sentences
        self.work, self.audio, self.symbols, self.speakers = Path(work), audio, symbols, speakers
        self.durations = read_durations(work) if durations else None
        if self.durations is not None:
            rows = [r for r in rows if r["id"] in self.durations]
        self.rows = rows
        self.order = BatchOrder([len(r["symbols"]) for r in rows], train.batch_size, train.seed)

    def __len__(self) -> int:
        return self.order.per_epoch

    def __getitem__(self, step: int) -> Batch:
        return self.collate([self.rows[i] for i in self.order(step)])

    def item(self, row: dict[str, Any]) -> dict[str, Tensor]:
        features = read_features(self.work, row["id"], self.audio)
        x = torch.tensor([self.symbols[s] for s in row["symbols"]])
        out = {"x": x, "y": features["mel"].float(), "f0": features["f0"]}
        if self.durations is not None:
            out["w"] = self.durations[row["id"]].long()
        return out

    def collate(self, rows: list[dict[str, Any]]) -> Batch:
        items = [self.item(r) for r in rows]
        pad = torch.nn.utils.rnn.pad_sequence
        y = pad([i["y"].T for i in items], batch_first=True, padding_value=float(np.log(self.audio.floor)))
        return Batch(
            ids=[r["id"] for r in rows],
            speaker=torch.tensor([self.speakers.index(r["speaker"]) for r in rows]),
            x=pad([i["x"] for i in items], batch_first=True),
            x_lengths=torch.tensor([len(i["x"]) for i in items]),
            y=y.transpose(1, 2).contiguous(),
            y_lengths=torch.tensor([i["y"].shape[1] for i in items]),
            w=None if self.durations is None else pad([i["w"] for i in items], batch_first=True),
            f0=pad([i["f0"] for i in items], batch_first=True),
            sentence=None if self.sentences is None else torch.stack([self.sentences[r["text"]] for r in rows]),
        )


SPEEDS = (0.6, 1.3)  # of varied cuts: a woman slowed to 0.6 has the pitch, and the throat, of a man
EQUALISER_DB = 3.0  # standard deviation of the gain at each of its points


class SegmentBatches(torch.utils.data.Dataset[Batch]):
    """Cuts of `segment_frames` frames for the vocoder: y [B, M, F + 1] (one frame of right context), wav [B, F * hop].

    Half of the cuts change level by -12 to +6 dB, never into clipping: voices differ in level, and so do users' clips.
    The share `vary` of the recordings' cuts is also played slower or faster and through an equaliser: other throats,
    deeper voices and other rooms than the corpus has. None of this is done without `augment`.
    `rendered`: the share of a batch, its first cuts, that uses a VAE's mels of the same clips; the rest has the
    recordings' own, so that the vocoder learns the one without forgetting the other; without `augment` (the dev split)
    all use the VAE's.
    """

    def __init__(
        self, work: str | Path, rows: list[dict[str, Any]], audio: AudioConfig, train: TrainConfig,
        rendered: float = 0.0, augment: bool = True, vary: float = 0.0,
    ) -> None:  # fmt: skip
        self.work, self.audio, self.train, self.augment = Path(work), audio, train, augment
        self.vary, self.log_mel = vary if augment else 0.0, LogMel(audio)
        self.rendered = rendered
        self.rows = rows
        # A clip is drawn as often as it has segments: long clips are not seen less per second than short ones.
        frames = [max(1, round(r["duration"] * audio.frame_rate / train.segment_frames)) for r in rows]
        self.draws = [i for i, n in enumerate(frames) for _ in range(n)]
        self.order = BatchOrder([0] * len(self.draws), train.batch_size, train.seed)

    def __len__(self) -> int:
        return self.order.per_epoch

    def __getitem__(self, step: int) -> Batch:
        rng = np.random.default_rng((self.train.seed, 1, step))
        rows = [self.rows[self.draws[i]] for i in self.order(step)]
        rendered = round(self.rendered * len(rows)) if self.augment else len(rows) * (self.rendered > 0)
        cuts = [self._cut(r, rng, i < rendered) for i, r in enumerate(rows)]
        return Batch(
            ids=[r["id"] for r in rows], speaker=torch.zeros(len(rows), dtype=torch.long),
            y=torch.stack([c[0] for c in cuts]), wav=torch.stack([c[1] for c in cuts]),
        )  # fmt: skip

    def _cut(self, row: dict[str, Any], rng: np.random.Generator, rendered: bool) -> tuple[Tensor, Tensor]:
        n, hop = self.train.segment_frames, self.audio.hop
        with safe_open(str(feature_path(self.work, row["id"])), "pt") as f:
            mel, wav = f.get_slice("mel"), f.get_slice("wav")
            start = int(rng.integers(0, max(1, mel.get_shape()[1] - n)))
            cut_wav = wav[start * hop : (start + n) * hop].float() / 32767
            cut_mel = mel[:, start : start + n + 1].float()
            if not rendered and rng.random() < self.vary:
                cut_mel, cut_wav = self._varied(wav, start * hop, rng)
        if rendered:
            with safe_open(str(feature_path(self.work, row["id"], "reconstructions")), "pt") as f:
                cut_mel = f.get_slice("mel")[:, start : start + n + 1].float()
        floor = float(np.log(self.audio.floor))
        cut_wav = torch.nn.functional.pad(cut_wav, (0, n * hop - len(cut_wav)))
        cut_mel = torch.nn.functional.pad(cut_mel, (0, n + 1 - cut_mel.shape[1]), value=floor)
        if self.augment and rng.random() < 0.5:
            top = min(6.0, 20 * float(np.log10(0.98 / max(1e-3, float(cut_wav.abs().max())))))
            gain = 10 ** (rng.uniform(-12.0, max(-12.0, top)) / 20)
            cut_wav = cut_wav * gain
            cut_mel = (cut_mel + float(np.log(gain))).clamp_min(floor)
        return cut_mel, cut_wav

    def _varied(self, wav: Any, first: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """A cut from sample `first` on at another speed, through another room: mel [M, F + 1] and wav [F * hop]."""
        import soxr

        n, hop, rate = self.train.segment_frames, self.audio.hop, self.audio.sample_rate
        margin = 4  # frames on each side, so that no window sees an edge
        speed = float(np.exp(rng.uniform(*np.log(SPEEDS))))
        size = (n + 2 * margin) * hop
        piece = wav[first : first + round(size * speed) + 1].float().numpy() / 32767
        piece = soxr.resample(piece, rate * speed, rate, quality="HQ")[:size]
        piece = np.pad(piece, (0, size - len(piece)))
        spectrum, bins = np.fft.rfft(piece), np.fft.rfftfreq(size, 1 / rate)
        places = np.array([0, 150, 400, 1000, 2000, 4000, 7000, 12000.0])
        gain = np.interp(bins, places, rng.normal(0.0, EQUALISER_DB, len(places)))
        piece = np.fft.irfft(spectrum * 10 ** (gain / 20), size).astype(np.float32)
        piece *= min(1.0, 0.98 / max(1e-3, float(np.abs(piece).max())))
        samples = torch.from_numpy(piece)
        mel = self.log_mel(samples[None])[0]
        return mel[:, margin : margin + n + 1], samples[margin * hop : (margin + n) * hop]


def read_features(work: str | Path, utterance_id: str, cfg: AudioConfig) -> dict[str, Tensor]:
    """The cached tensors of one utterance; a cache made with other settings is an error."""
    path = feature_path(work, utterance_id)
    try:
        with safe_open(str(path), "pt") as f:
            if (f.metadata() or {}).get("fingerprint") != cfg.fingerprint():
                raise SpeechVAEError(f"{path} holds features of other audio settings: prepare the corpus again")
            return {k: f.get_tensor(k) for k in f.keys()}  # noqa: SIM118 (a safetensors handle is not a dict)
    except (FileNotFoundError, SafetensorError) as e:
        raise SpeechVAEError(f"features {path} cannot be read ({e}): run `speechvae prepare` again") from e


def read_durations(work: str | Path) -> dict[str, Tensor]:
    """Durations in frames [N] by utterance id, as `speechvae train --stage aligner` leaves them."""
    path = Path(work) / "durations.safetensors"
    if not path.is_file():
        raise SpeechVAEError(f"no durations at {path}: train the aligner first (`speechvae train --stage aligner`)")
    return load_file(str(path))


def write_durations(work: str | Path, durations: dict[str, Tensor]) -> Path:
    path = Path(work) / "durations.safetensors"
    tmp = path.with_suffix(".part")
    save_file({k: v.to(torch.int32).contiguous() for k, v in durations.items()}, str(tmp))
    os.replace(tmp, path)
    return path
