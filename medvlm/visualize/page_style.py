"""The style sheet and the script of an HTML page that stands alone."""

STYLE = """
:root { --paper: #ffffff; --panel: #f5f7f9; --ink: #1d2227; --faint: #8b949e; --quiet: #59636e; --rule: #d5dae0;
  --blue: #0072b2; --vermillion: #d55e00; --green: #009e73; --orange: #e69f00; --purple: #cc79a7; --sky: #56b4e9;
  --caution: #fff4e0; --shade: #1d222733;
  --sans: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif; }
@media screen and (prefers-color-scheme: dark) { :root { --paper: #14181c; --panel: #1d2329; --ink: #e6e9ec;
  --faint: #7d8791; --quiet: #a5aeb8; --rule: #38414a; --blue: #4fa8dc; --vermillion: #f08a3c; --green: #35c493;
  --orange: #f2b632; --purple: #dd97be; --sky: #7cc8f2; --caution: #3a2f17; --shade: #e6e9ec40;
  color-scheme: dark; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; padding: 2.5rem 1.25rem 4rem; max-width: 72rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 var(--sans); }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; margin: 0 0 0.8rem; padding-top: 1.4rem; border-top: 2px solid var(--ink); }
h3 { font-size: 1.02rem; margin: 1.8rem 0 0.5rem; }
p, ul { max-width: 46rem; margin: 0.6rem 0; }
li { margin: 0.25rem 0; }
a { color: var(--blue); }
.subtitle { color: var(--quiet); margin-top: 0.4rem; overflow-wrap: anywhere; }
nav ol { columns: 3 14rem; column-gap: 3.2rem; padding: 0.9rem 1rem 0.9rem 2.4rem; margin: 1.4rem 0 0;
  background: var(--panel); border-radius: 6px; font-size: 0.9rem; }
nav li { margin: 0; break-inside: avoid; }
section { margin-top: 2.6rem; }
code { font: 0.88em ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere; }
pre { background: var(--panel); padding: 0.7rem 0.9rem; border-radius: 6px; overflow-x: auto; }
.absent { color: var(--quiet); font-style: italic; }
.caution { background: var(--caution); border-left: 4px solid var(--orange); padding: 0.55rem 0.9rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(11.5rem, 1fr)); gap: 0.8rem; margin: 1rem 0; }
.card { background: var(--panel); border-radius: 6px; padding: 0.8rem 1rem; }
.card .name { font-size: 0.85rem; color: var(--quiet); }
.card .value { font-size: 1.35rem; font-weight: 650; font-variant-numeric: tabular-nums; }
.card .basis { font-size: 0.8rem; color: var(--quiet); }
.facts { margin: 1rem 0; font-size: 0.92rem; max-width: 54rem; }
.facts div { display: flex; gap: 0.8rem; border-bottom: 1px solid var(--rule); padding: 0.3rem 0; }
.facts dt { color: var(--quiet); flex: 0 0 8.5rem; }
.facts dd { margin: 0; overflow-wrap: anywhere; min-width: 0; }
.scroll { overflow-x: auto; margin: 0.9rem 0 1.4rem; background-repeat: no-repeat;
  background-image: linear-gradient(to right, var(--paper) 30%, transparent),
    linear-gradient(to left, var(--paper) 30%, transparent),
    linear-gradient(to right, var(--shade), transparent), linear-gradient(to left, var(--shade), transparent);
  background-position: 0 0, 100% 0, 0 0, 100% 0; background-attachment: local, local, scroll, scroll;
  background-size: 3rem 100%, 3rem 100%, 0.9rem 100%, 0.9rem 100%; } /* a shade where more of the table is */
table { border-collapse: collapse; font-size: 0.83rem; font-variant-numeric: tabular-nums; min-width: 50%;
  border-top: 1.5px solid var(--ink); border-bottom: 1.5px solid var(--ink); }
caption { text-align: left; color: var(--quiet); padding-bottom: 0.45rem; }
th, td { padding: 0.32rem 0.6rem; text-align: left; vertical-align: baseline; }
tbody td, .together { white-space: nowrap; }
tbody td.number { white-space: normal; }
thead th { border-bottom: 1px solid var(--ink); font-weight: 600; vertical-align: bottom; }
tbody th { font-weight: 500; white-space: normal; overflow-wrap: break-word; min-width: 6.5rem; max-width: 20rem; }
tbody tr + tr > * { border-top: 1px solid var(--rule); }
.number { text-align: right; }
table button { font: inherit; color: inherit; background: none; border: 0; padding: 0; cursor: pointer;
  text-align: inherit; }
table button::after { content: " \\2195"; color: var(--faint); }
th[aria-sort=ascending] button::after { content: " \\2191"; color: var(--blue); }
th[aria-sort=descending] button::after { content: " \\2193"; color: var(--blue); }
.sortable tbody th { min-width: 9rem; overflow-wrap: anywhere; }
.sortable thead th { position: sticky; top: 0; background: var(--paper); }
.tall { max-height: 40rem; overflow: auto; border-bottom: 1px solid var(--rule); }
.tall .scroll { overflow: visible; margin: 0; background: none; }
figure { margin: 1rem 0; min-width: 0; }
figcaption { font-size: 0.85rem; color: var(--quiet); max-width: 46rem; overflow-wrap: anywhere; }
.gallery { display: flex; flex-wrap: wrap; gap: 0.4rem 1.4rem; align-items: flex-start; }
.gallery figure { flex: 0 1 auto; max-width: 100%; }
.gallery figcaption { max-width: 20rem; }
figure svg { display: block; max-width: 100%; height: auto; overflow: visible; }
figure svg * { stroke-linejoin: round; stroke-linecap: butt; }
figure.case { margin: 1.3rem 0; }
figure.case figcaption { color: var(--ink); margin-bottom: 0.3rem; max-width: none; }
figure.case img { max-width: 100%; height: auto; display: block; border-radius: 4px; background: #fff; }
@media (max-width: 40rem) { .facts div { flex-direction: column; gap: 0; } .facts dt { flex: none; }
  figure { overflow-x: auto; } figure svg { max-width: none; } }
@media print { body { max-width: none; padding: 0; font-size: 10.5pt; } nav { display: none; }
  h2, h3, caption { break-after: avoid; } figure, tr, .card, .cards { break-inside: avoid; }
  .gallery { flex-wrap: nowrap; } .gallery figure { flex: 0 1 auto; }
  .scroll, .tall { overflow: visible; max-height: none; background: none; } table button::after { content: ""; }
  .sortable { font-size: 7pt; } th, td { padding: 0.2rem 0.4rem; }
  * { -webkit-print-color-adjust: exact; print-color-adjust: exact; } }
"""

SCRIPT = """
for (const table of document.querySelectorAll("table.sortable")) {
  table.querySelectorAll("thead th").forEach((head, column) => head.addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    table.querySelectorAll("thead th").forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const body = table.tBodies[0];
    const key = row => row.cells[column].dataset.sort;
    const text = row => row.cells[column].textContent;
    const numeric = head.classList.contains("number");
    const lines = [...body.rows].sort((a, b) => {
      if (numeric && key(a) === undefined) return key(b) === undefined ? 0 : 1;
      if (numeric && key(b) === undefined) return -1;
      const order = numeric ? key(a) - key(b) : text(a).localeCompare(text(b), undefined, {numeric: true});
      return down ? -order : order;
    });
    body.append(...lines);
  }));
}
"""
