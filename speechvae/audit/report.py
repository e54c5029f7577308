"""The findings of an audit as a table and as a page that works without a network."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from speechvae.audit.measures import KINDS
from speechvae.journal import write_text

if TYPE_CHECKING:
    from speechvae.audit.run import Audited

COLUMNS = ("seconds", "level", "score", "neg_elbo", *(k for k in KINDS if k != "colour"))
SHOWN = 300  # rows on the page; all are in the table
WORST = 3.0  # nats a frame below the best label at which a word is painted red

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; color: #1d1d1f;
  background: #fff }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .4rem .6rem; border-bottom: 1px solid #ddd }
th { position: sticky; top: 0; background: #fff } th button { font: inherit; font-weight: 600; border: 0; padding: 0;
  background: none; cursor: pointer; color: inherit }
td.n { text-align: right; font-variant-numeric: tabular-nums }
audio { width: 14rem; height: 2rem } small { color: #555 } .w { border-radius: .2rem; padding: 0 .1rem }
@media (prefers-color-scheme: dark) { body, th { background: #1c1c1e; color: #eee } small { color: #aaa }
  th, td { border-color: #444 } }
"""

_SORT = """
document.querySelectorAll('th button').forEach((button, column) => {
  let down = false;
  button.addEventListener('click', () => {
    const body = document.querySelector('tbody');
    const key = row => { const c = row.cells[column]; return c.dataset.v === undefined ? c.textContent : +c.dataset.v };
    const rows = [...body.rows].sort((a, b) => key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0);
    if (down) rows.reverse();
    down = !down;
    body.append(...rows);
  });
});
"""


def write_table(rows: Sequence[Audited], path: Path) -> Path:
    """CSV, the most suspicious clip first: what is thought of it, all measures, and (as NAME_z) their z-scores."""
    out = io.StringIO()
    table = csv.writer(out)
    head = ["id", "speaker", "split", "suspicion", "reason", "worst_word_text", *COLUMNS]
    table.writerow([*head, *(f"{k}_z" for k in KINDS), "text", "audio"])
    for row in rows:
        u, m, v = row.utterance, row.measures, row.verdict
        words = m.get("words") or [("", 0.0, 0.0)]
        table.writerow([
            _plain(u.id), _plain(u.speaker), u.split, v.suspicion, _plain(v.reason),
            _plain(min(words, key=lambda w: w[1])[0]), *(m.get(k, "") for k in COLUMNS),
            *(round(v.scores[k], 2) if k in v.scores else "" for k in KINDS), _plain(u.text), u.audio or "",
        ])  # fmt: skip
    write_text(path, out.getvalue())
    return path


def _plain(text: str) -> str:
    """Text that a spreadsheet does not take for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t") else text


def write_page(rows: Sequence[Audited], path: Path, voice: str) -> Path:
    """A page with the most suspicious clips: the reason, the words painted by how badly they fit, players."""
    reasons: dict[str, int] = {}
    for row in rows:
        if row.verdict.suspicion >= 3:
            reasons[_kind(row)] = reasons.get(_kind(row), 0) + 1
    counts = "".join(f"<li>{html.escape(k)}: {n}</li>" for k, n in sorted(reasons.items(), key=lambda r: -r[1]))
    heads = "".join(f"<th><button>{h}</button></th>" for h in ("suspicion", "clip", "reason", "text", "sound"))
    body = "\n".join(_row(row) for row in rows[:SHOWN])
    note = f"<p><small>The {SHOWN} most suspicious are shown; all are in audit.csv.</small></p>"
    write_text(path, f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Audit: {len(rows)} clips</title><style>{_STYLE}</style>
<h1>Audit of {len(rows)} clips</h1>
<p>Heard by the voice {html.escape(voice)}. Suspicion: how many robust standard deviations a clip lies from its
speaker's usual, mean of its two oddest measures; above 3 it deserves an ear. Words are redder the worse they fit.</p>
<ul>{counts or "<li>nothing above 3</li>"}</ul>
<table><thead><tr>{heads}</tr></thead><tbody>
{body}
</tbody></table>
{note if len(rows) > SHOWN else ""}
<script>{_SORT}</script></html>
""")
    return path


def _kind(row: Audited) -> str:
    v = row.verdict
    return KINDS[max(v.scores, key=lambda k: v.scores[k])].words if v.scores else "cannot be examined"


def _row(row: Audited) -> str:
    u, v = row.utterance, row.verdict
    top = sorted(v.scores.items(), key=lambda s: -s[1])[:3]
    figures = ", ".join(f"{name} {z:.1f}" for name, z in top if z >= 1)
    player = f'<audio controls preload="none" src="{html.escape(quote(row.sound))}"></audio>' if row.sound else ""
    return (
        f'<tr><td class="n" data-v="{v.suspicion}">{v.suspicion:.1f}</td>'
        f"<td>{html.escape(u.id)}<br><small>{html.escape(u.speaker)}</small></td>"
        f"<td>{html.escape(v.reason)}<br><small>{html.escape(figures)}</small></td>"
        f"<td>{_words(row)}</td><td>{player}</td></tr>"
    )


def _words(row: Audited) -> str:
    """The text, each word on a ground that is the redder the worse it fits."""
    words = row.measures.get("words")
    if not words:
        return html.escape(row.utterance.text)
    painted = []
    for text, fit, nats in words:
        alpha = min(1.0, max(0.0, (-fit - 0.5) / (WORST - 0.5))) * 0.7
        title = f"fit {fit:.2f}, neg_elbo {nats:.0f} nats a frame"
        style = f"background:rgba(230,40,30,{alpha:.2f})"
        painted.append(f'<span class="w" style="{style}" title="{title}">{html.escape(text)}</span>')
    return " ".join(painted)
