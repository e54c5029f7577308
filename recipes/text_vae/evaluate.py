"""Measure a text VAE beside a language model and an autoencoder of the same size, on the test split.

    python recipes/text_vae/evaluate.py work/words -o results

The stages text_vae and text_lm must have been trained in the work folder; text_autoencoder is measured if it was.
Writes report.json, table.md and samples.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from torch import Tensor
from tqdm import tqdm

from speechvae import checkpoint
from speechvae.config import Config
from speechvae.journal import write_text
from speechvae.metrics.words import bleu4, costs, distinct, goes_one_way, latent_use
from speechvae.models.text_vae import TextVAE
from speechvae.nn.batch import Batch
from speechvae.stages import STAGES
from speechvae.stages.text_vae import TextVAEStage
from speechvae.words.corpus import TextTable
from speechvae.words.decoding import beam_search, sample
from speechvae.words.export import export_writer
from speechvae.words.tokens import sentence
from speechvae.words.writer import TOP_P, WORD_TEMPERATURE, Writer

STEPS = (5, 7)  # of paths between two sentences, with their ends; the first is the default of `between`
REPLIES = 3


def load(work: Path) -> dict[str, TextVAE]:
    """The EMA weights of the trained models, by stage."""
    models = {}
    for name in ("text_vae", "text_lm", "text_autoencoder"):
        store = checkpoint.CheckpointStore(work / "checkpoints" / name)
        if name == "text_autoencoder" and not store.exists():
            continue
        config = Config.parse(store.state()["config"], name)
        stage = STAGES[name](config, work)
        assert isinstance(stage, TextVAEStage)
        stage.load_trained()
        models[name] = stage.model
    return models


class Evaluation:
    def __init__(self, work: Path, writer: Writer, n: int, seed: int) -> None:
        self.table, self.models, self.writer = TextTable.load(work), load(work), writer
        self.cfg = self.models["text_vae"].cfg
        self.rng = np.random.default_rng(seed)
        self.rows = {c: self._pick(self.table.rows("test", self.cfg, c), n if not c else n // 2) for c in (False, True)}

    def _pick(self, rows: Sequence[int], n: int) -> list[int]:
        return self.rng.permutation(rows)[:n].tolist()

    def batches(self, with_context: bool, size: int = 16) -> list[Batch]:
        # Like lengths together: padding costs time.
        rows = sorted(self.rows[with_context], key=lambda r: len(self.table.ids(r)))
        return [self.table.batch(rows[i : i + size], self.cfg, with_context) for i in range(0, len(rows), size)]

    def likelihood(self, samples: int) -> dict[str, Any]:
        """Nats a sentence: importance-weighted bound of the VAE, exact value of the language model."""
        found: dict[str, Any] = {}
        for with_context in (False, True):
            name = "replies" if with_context else "sentences"
            bars = {m: tqdm(self.batches(with_context), desc=f"{m}: {name}") for m in ("text_vae", "text_lm")}
            nats = {m: costs(self.models[m], bar, samples) for m, bar in bars.items()}
            lm, tokens = nats["text_lm"]
            loose, _ = costs(self.models["text_vae"], self.batches(with_context), 1)
            total = float(tokens.sum())
            found[name] = {
                "number": len(lm), "tokens": total / len(lm), "elbo": float(loose.mean()),
                "iw_nll": float(nats["text_vae"][0].mean()), "lm_nll": float(lm.mean()),
                "ratio": float(nats["text_vae"][0].sum() / lm.sum()),
                "perplexity": float((nats["text_vae"][0].sum() / total).exp()),
                "lm_perplexity": float((lm.sum() / total).exp()),
            }  # fmt: skip
        return found

    def greedy(self, model: TextVAE, z: Tensor) -> list[str]:
        c = model.encode_context(None, 1).expand(len(z), -1)
        return [self.table.tokenizer.decode(r) for r in sample(model, z, c, 0.0)]

    @torch.inference_mode()
    def reconstruction(self) -> dict[str, float]:
        """BLEU-4 of the likeliest sentence of each posterior mean; of another sentence's posterior mean."""
        found = {}
        for name, model in self.models.items():
            if name == "text_lm":
                continue
            texts, means = [], []
            for b in self.batches(False):
                assert b.x is not None
                means.append(model.encode(b.x, model.encode_context(None, len(b.x)))[0])
                texts += [self.table.tokenizer.decode(r) for r in b.x.tolist()]
            z = torch.cat(means)
            written = [t for part in z.split(64) for t in self.greedy(model, part)]
            # The neighbour has about the same length: what is compared is the content.
            foreign = [*written[1:], written[0]]
            found[name], found[f"{name}_foreign"] = bleu4(written, texts), bleu4(foreign, texts)
        return found

    def lm_perplexity(self, texts: Sequence[str]) -> float:
        """Of texts as the language model sees them."""
        kept = [t for t in texts if t]
        ids = sorted((sentence(self.table.tokenizer.encode(t)) for t in kept), key=len)
        pad = torch.nn.utils.rnn.pad_sequence
        parts = [pad([torch.tensor(i) for i in ids[n : n + 16]], batch_first=True) for n in range(0, len(ids), 16)]
        nats, tokens = costs(self.models["text_lm"], [Batch(ids=[], speaker=torch.zeros(0), x=x) for x in parts], 1)
        return float((nats.sum() / tokens.sum()).exp())

    def judges(self) -> dict[str, Callable[[Sequence[str]], Tensor]]:
        """Embeddings [K, D] of texts. `between` asks the writer's own posterior, and its own word vectors; the language
        model's word vectors were trained without it, and latent semantic analysis has no network and no tokens."""
        lm = self.models["text_lm"].embed.weight.detach()

        def word_vectors(texts: Sequence[str]) -> Tensor:
            return torch.stack([lm[self.table.tokenizer.encode(t) or [0]].mean(0) for t in texts])

        # Without the mean word vector of the test sentences all texts are alike.
        centre = word_vectors([self.table.text(r) for r in self.rows[False][:300]]).mean(0)
        words = TfidfVectorizer(sublinear_tf=True, min_df=3)
        counts = words.fit_transform(self.table.text(r) for r in self.table.rows("train", self.cfg, False))
        topics = TruncatedSVD(100, random_state=0).fit(counts)
        return {
            "posterior": self.writer.embed, "word vectors": lambda texts: word_vectors(texts) - centre,
            "lsa": lambda texts: torch.from_numpy(topics.transform(words.transform(texts))).float(),
        }  # fmt: skip

    @torch.inference_mode()
    def paths(self, pairs: int) -> dict[str, Any]:
        """Fluency and direction of paths between two test sentences."""
        model, judges = self.models["text_vae"], self.judges()
        short = [r for r in self.rows[False] if 5 <= len(self.table.ids(r)) <= 40]
        ends = [self.rng.choice(short, 2, replace=False).tolist() for _ in range(pairs)]
        found: dict[str, Any] = {}
        for steps in STEPS:
            written = [
                [w.text for w in self.writer.between(self.table.text(a), self.table.text(b), steps)]
                for a, b in tqdm(ends, desc=f"paths of {steps}")
            ]
            found[str(steps)] = {
                "perplexity": self.lm_perplexity([t for path in written for t in path[1:-1]]),
                "repetitions": float(np.mean([a == b for path in written for a, b in pairwise(path)])),
                **{
                    name: {k: float(np.mean([goes_one_way(e(p), each) for p in written])) for k, e in judges.items()}
                    for name, each in (("one_way", False), ("one_way_each", True))
                },
                "shown": written[:3],
            }  # fmt: skip
        samples = [w.text for w in self.writer.write(300, seed=1)]
        likeliest = self.greedy(model, torch.randn(300, model.z_dim, generator=torch.Generator().manual_seed(1)))
        found["sample_perplexity"] = self.lm_perplexity(samples)
        return {**found, "likeliest_sample_perplexity": self.lm_perplexity(likeliest)}

    @torch.inference_mode()
    def variety(self, contexts: int) -> dict[str, Any]:
        """distinct-2 of three replies to each context, against the language model's three best beams."""
        lm = self.models["text_lm"]
        ours, beams, drawn, people, shown = [], [], [], [], []
        for n, row in enumerate(tqdm(self.rows[True][:contexts], desc="replies")):
            before = range(row - min(self.cfg.context_turns, int(self.table.tensors["place"][row])), row)
            said = [self.table.text(r) for r in before]
            found = [w.text for w in self.writer.reply(said, REPLIES, seed=n)]
            context = torch.tensor([self.table.context(row, self.cfg)])
            c = lm.encode_context(context, 1)
            best = [self.table.tokenizer.decode(r) for r in beam_search(lm, lm.no_latent(1), c, 5)[:REPLIES]]
            rows = sample(lm, lm.no_latent(REPLIES), c.expand(REPLIES, -1), WORD_TEMPERATURE, TOP_P,
                          torch.Generator().manual_seed(n))  # fmt: skip
            ours += found
            beams += best
            drawn += [self.table.tokenizer.decode(r) for r in rows]
            people.append(self.table.text(row))
            shown.append({"said": said, "replies": found, "beams": best})
        return {
            "contexts": contexts, "replies": len(ours) / contexts, "distinct2": distinct(ours),
            "distinct2_beams": distinct(beams), "distinct2_lm_drawn": distinct(drawn),
            "distinct2_people": distinct(people), "shown": shown[:10],
        }  # fmt: skip

    def run(self, samples: int, pairs: int, contexts: int) -> dict[str, Any]:
        vae = self.models["text_vae"]
        return {
            "parameters": {k: sum(p.numel() for p in m.parameters()) for k, m in self.models.items()},
            "samples_of_the_bound": samples, "likelihood": self.likelihood(samples),
            "latent": latent_use(vae, self.batches(False)), "bleu4": self.reconstruction(), "paths": self.paths(pairs),
            "variety": self.variety(contexts), "samples": [w.text for w in self.writer.write(40, seed=2026)],
        }  # fmt: skip


def show(r: dict[str, Any]) -> str:
    """The figures in Markdown."""
    like, bleu, paths, variety, latent = (r[k] for k in ("likelihood", "bleu4", "paths", "variety", "latent"))
    rows = []
    for name, f in like.items():
        rows += [
            (f"IW-NLL of {f['number']} {name}, nats ({r['samples_of_the_bound']} samples)",
             f"{f['iw_nll']:.1f} (language model {f['lm_nll']:.1f}; ratio {f['ratio']:.3f})", "ratio ≤ 1.05"),
            (f"perplexity a token, {name}", f"{f['perplexity']:.1f} (language model {f['lm_perplexity']:.1f})", ""),
            (f"1-sample bound, {name}", f"{f['elbo']:.1f}", ""),
        ]  # fmt: skip
    own, other = bleu["text_vae"], bleu["text_vae_foreign"]
    drawn, likeliest = paths["sample_perplexity"], paths["likeliest_sample_perplexity"]
    ours, beams = variety["distinct2"], variety["distinct2_beams"]
    rows += [
        ("KL, nats a sentence", f"{latent['kl']:.1f}", "≥ 8"),
        ("active units", f"{latent['active_units']:.0f}", "≥ 16"),
        ("mutual information, nats", f"{latent['mutual_information']:.2f} (at most {latent['log_sentences']:.2f})", ""),
        ("BLEU-4 of posterior means / of another's", f"{own:.2f} / {other:.2f} = {own / max(other, 1e-9):.1f}", "≥ 3"),
        ("distinct-2 of replies / of LM beams",
         f"{ours:.3f} / {beams:.3f} = {ours / max(beams, 1e-9):.1f} (LM drawn: {variety['distinct2_lm_drawn']:.3f}; "
         f"people, one reply each: {variety['distinct2_people']:.3f})", "≥ 2"),
    ]  # fmt: skip
    for n in STEPS:
        path = paths[str(n)]
        rows += [
            (f"LM perplexity of paths of {n} / of samples",
             f"{path['perplexity']:.1f} / {drawn:.1f} = {path['perplexity'] / drawn:.2f} "
             f"(samples in their likeliest words: {likeliest:.1f})", "≤ 1.5"),
            (f"paths of {n} that go one way, by the {' / '.join(path['one_way'])}",
             " / ".join(f"{v:.0%}" for v in path["one_way"].values())
             + f" ({path['repetitions']:.1%} of the steps repeat a sentence)", "≥ 80 %"),
            ("the same, to each end alone", " / ".join(f"{v:.0%}" for v in path["one_way_each"].values()), ""),
        ]  # fmt: skip
    if "text_autoencoder" in bleu:
        own, other = bleu["text_autoencoder"], bleu["text_autoencoder_foreign"]
        rows.append(("BLEU-4 of the autoencoder / of another's", f"{own:.2f} / {other:.2f}", ""))
    return "| | found | wanted |\n|---|---|---|\n" + "\n".join(f"| {a} | {b} | {c} |" for a, b, c in rows)


def examples(r: dict[str, Any]) -> str:
    lines = ["**40 sentences, seed 2026, unpicked**", "", *(f"{i}. {t}" for i, t in enumerate(r["samples"], 1)), ""]
    lines += ["**Replies to test contexts, the first ten**", ""]
    for s in r["variety"]["shown"]:
        lines += [f"* *{' / '.join(s['said'])}*", *(f"    * {t}" for t in s["replies"]), f"    * beam: {s['beams'][0]}"]
    lines += ["", "**Paths, the first three** (the ends as they stand in the test split)", ""]
    for path in r["paths"][str(STEPS[0])]["shown"]:
        lines += [f"* {t}" for t in path] + [""]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("work", type=Path)
    p.add_argument("-o", "--out", type=Path, required=True, help="folder for the report and the writer")
    p.add_argument("-n", type=int, default=1000, help="test sentences (and half as many replies)")
    p.add_argument("--samples", type=int, default=64, help="of the importance-weighted bound")
    p.add_argument("--pairs", type=int, default=200)
    p.add_argument("--contexts", type=int, default=200)
    p.add_argument("--seed", type=int, default=1)
    args = p.parse_args(argv)
    writer = Writer.load(export_writer(args.work, args.out / "writer"))
    report = Evaluation(args.work, writer, args.n, args.seed).run(args.samples, args.pairs, args.contexts)
    write_text(args.out / "report.json", json.dumps(report, indent=1, ensure_ascii=False))
    write_text(args.out / "table.md", show(report) + "\n")
    write_text(args.out / "samples.md", examples(report) + "\n")
    print(show(report))


if __name__ == "__main__":
    main()
