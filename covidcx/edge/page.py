"""The text of the HTML page that `covidcx.edge.report` fills: one file, no external resources, works from disk."""

HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>covidcx findings</title>
<style>
* { box-sizing: border-box; }
html, body { height: 100%; margin: 0; }
body { display: flex; flex-direction: column; background: #14171a; color: #e6e9ec;
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
header { display: flex; flex-wrap: wrap; gap: .4rem 1.5rem; align-items: baseline; padding: .6rem 1rem;
  background: #1d2226; border-bottom: 1px solid #333b41; }
h1 { font-size: 1.1rem; margin: 0; }
.muted { color: #9aa5ae; }
#disclaimer { background: #4a3a10; color: #ffe6a3; padding: .3rem 1rem; }
main { flex: 1; min-height: 0; display: grid; grid-template-columns: 21rem 1fr; }
nav { display: flex; flex-direction: column; min-height: 0; border-right: 1px solid #333b41; }
#filters { display: flex; flex-wrap: wrap; gap: .35rem; padding: .6rem; }
#filters button, #controls button { background: #262d33; color: inherit; border: 1px solid #44505a;
  border-radius: 4px; padding: .2rem .6rem; font: inherit; cursor: pointer; }
#filters button[aria-pressed="true"], #controls button[aria-pressed="true"] {
  background: #0e5a7a; border-color: #2f9cc7; }
#search { flex: 1 1 100%; background: #0e1113; color: inherit; border: 1px solid #44505a; border-radius: 4px;
  padding: .3rem .5rem; font: inherit; }
#list { flex: 1; overflow-y: auto; margin: 0; padding: 0; list-style: none; }
#list li { display: flex; gap: .6rem; padding: .4rem .6rem; cursor: pointer; border-left: 4px solid transparent;
  min-height: 4.2rem; align-items: center; }
#list li[aria-selected="true"] { background: #223038; border-left-color: #2f9cc7; }
#list img, #list .none { width: 3.4rem; height: 3.4rem; object-fit: cover; background: #000; flex: none;
  border-radius: 3px; }
#list .none { display: grid; place-items: center; color: #9aa5ae; }
#list .text { min-width: 0; }
#list .name { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; font-size: .87rem; }
section { min-height: 0; overflow-y: auto; padding: 1rem; display: flex; flex-wrap: wrap; gap: 1.2rem;
  align-items: flex-start; }
#view { flex: 1 1 24rem; text-align: center; }
#view img { max-width: 100%; max-height: 80vh; background: #000; }
#view .none { padding: 4rem 1rem; background: #0e1113; color: #c9d1d8; }
#facts { flex: 0 1 22rem; }
#facts h2 { margin: 0 0 .2rem; font-size: 1.05rem; overflow-wrap: anywhere; }
.call { display: inline-block; padding: .1rem .6rem; border-radius: 4px; font-weight: 600; background: #35424b; }
.call.flag { background: #8a3b12; }
.call.refused, .call.error { background: #5a5a5a; }
.bar { display: grid; grid-template-columns: 6rem 1fr 3.2rem; gap: .5rem; align-items: center; margin: .35rem 0; }
.track { position: relative; height: 1rem; background: #0e1113; border: 1px solid #333b41; }
.fill { height: 100%; background: #2f9cc7; }
.tick { position: absolute; top: -4px; bottom: -4px; width: 2px; background: #ffd166; }
dl { display: grid; grid-template-columns: 7.5rem 1fr; gap: .15rem .5rem; margin: .8rem 0; }
dt { color: #9aa5ae; } dd { margin: 0; overflow-wrap: anywhere; }
.warning { background: #4a3a10; color: #ffe6a3; padding: .3rem .6rem; margin: .3rem 0; }
#controls { display: flex; gap: .4rem; flex-wrap: wrap; margin: .8rem 0; }
kbd { border: 1px solid #44505a; border-radius: 3px; padding: 0 .3rem; font-size: .8rem; }
@media (max-width: 48rem) { main { grid-template-columns: 1fr; grid-template-rows: 14rem 1fr; }
  nav { border-right: 0; border-bottom: 1px solid #333b41; } }
</style>
</head>
<body>
"""

BODY = """
<main>
<nav aria-label="Findings">
<div id="filters">
<input id="search" type="search" placeholder="file name contains" aria-label="file name contains">
</div>
<ul id="list" role="listbox" tabindex="0" aria-label="Findings"></ul>
</nav>
<section>
<div id="view"></div>
<div id="facts" aria-live="polite"></div>
</section>
</main>
<noscript>
<p class="warning">This page needs JavaScript (its own, nothing is fetched); summary.csv holds the same.</p>
</noscript>
<script>
const FINDINGS = [], POINTS = """

TAIL = """
"use strict";
const element = (tag, className, text) => {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
};
const list = document.getElementById("list"), view = document.getElementById("view");
const facts = document.getElementById("facts"), search = document.getElementById("search");
const kind = f => f.status === "ok" ? f.label : f.status;
const flagged = f => f.status === "ok" && f.label in POINTS;
let filter = null, shown = [], current = -1, drawn = true;

const rows = FINDINGS.map((f, index) => {
  const row = element("li");
  row.setAttribute("role", "option");
  if (f.drawn) {
    const thumb = element("img");
    thumb.loading = "lazy"; thumb.alt = ""; thumb.src = f.drawn;
    row.append(thumb);
  } else row.append(element("div", "none", "–"));
  const text = element("div", "text");
  text.append(element("div", "name", f.source));
  const badge = element("span", "call " + (f.status === "ok" ? (flagged(f) ? "flag" : "") : f.status), kind(f));
  text.append(badge);
  if (f.status === "ok") text.append(" " + f.probabilities[f.label].toFixed(2));
  if (f.warnings.length) text.append(" ⚠");
  row.append(text);
  row.title = f.source;
  row.addEventListener("click", () => show(shown.indexOf(index)));
  list.append(row);
  return row;
});

const kinds = new Map();
FINDINGS.forEach(f => kinds.set(kind(f), (kinds.get(kind(f)) || 0) + 1));
const choices = [[null, "all", FINDINGS.length], ...[...kinds].map(([k, n]) => [k, k, n])];
const buttons = choices.map(([value, name, count]) => {
  const button = element("button", "", name + " " + count);
  button.type = "button";
  button.addEventListener("click", () => { filter = value; apply(); });
  document.getElementById("filters").append(button);
  return [value, button];
});

function apply() {
  const text = search.value.toLowerCase(), before = shown[current];
  shown = [];
  FINDINGS.forEach((f, index) => {
    const keep = (filter === null || kind(f) === filter) && f.source.toLowerCase().includes(text);
    rows[index].hidden = !keep;
    rows[index].style.display = keep ? "" : "none";
    if (keep) shown.push(index);
  });
  buttons.forEach(([value, button]) => button.setAttribute("aria-pressed", value === filter));
  show(Math.max(0, shown.indexOf(before)));
}

function show(place) {
  rows.forEach(row => row.setAttribute("aria-selected", "false"));
  view.replaceChildren(); facts.replaceChildren();
  if (!shown.length) { current = -1; view.append(element("div", "none", "No finding matches the filter.")); return; }
  current = Math.min(Math.max(place, 0), shown.length - 1);
  const f = FINDINGS[shown[current]], row = rows[shown[current]];
  row.setAttribute("aria-selected", "true");
  row.scrollIntoView({ block: "nearest" });
  if (f.drawn) {
    const image = element("img");
    image.src = drawn ? f.drawn : f.plain;
    image.alt = "radiograph " + f.source + (drawn ? " with lung outline and heat map" : "");
    view.append(image);
  } else view.append(element("div", "none", f.reason));
  facts.append(element("h2", "", f.source));
  facts.append(element("span", "call " + (f.status === "ok" ? (flagged(f) ? "flag" : "") : f.status), kind(f)));
  if (f.reason) facts.append(element("p", "", f.reason));
  f.warnings.forEach(text => facts.append(element("div", "warning", text)));
  for (const [label, p] of Object.entries(f.probabilities)) {
    const bar = element("div", "bar"), track = element("div", "track"), fill = element("div", "fill");
    fill.style.width = (100 * p) + "%";
    track.append(fill);
    if (label in POINTS) {
      const tick = element("div", "tick");
      tick.style.left = (100 * POINTS[label]) + "%";
      tick.title = "operating point " + POINTS[label].toFixed(3);
      track.append(tick);
    }
    bar.append(element("span", "", label), track, element("span", "", p.toFixed(3)));
    facts.append(bar);
  }
  const table = element("dl");
  const fact = (name, value) => table.append(element("dt", "", name), element("dd", "", value));
  for (const [label, point] of Object.entries(POINTS))
    if (f.status === "ok") fact("operating point", label + " is called from " + point.toFixed(3) + " on (yellow mark)");
  if (f.view) fact("projection", f.view);
  if (f.lung_area !== null) fact("lungs", (100 * f.lung_area).toFixed(0) + "% of the image");
  fact("time", f.seconds.toFixed(2) + " s");
  facts.append(table);
  const controls = element("div");
  controls.id = "controls";
  const add = (text, action) => {
    const button = element("button", "", text);
    button.type = "button";
    button.addEventListener("click", action);
    controls.append(button);
    return button;
  };
  add("← previous", () => show(current - 1));
  add("next →", () => show(current + 1));
  if (f.drawn) add("outline and heat map", toggle).setAttribute("aria-pressed", drawn);
  facts.append(controls);
  const keys = ". Keys: ← → to leaf through, H for the drawing.";
  facts.append(element("p", "muted", (current + 1) + " of " + shown.length + keys));
}

function toggle() { drawn = !drawn; show(current); }
search.addEventListener("input", apply);
document.addEventListener("keydown", event => {
  if (event.target === search && event.key !== "Escape" || event.ctrlKey || event.metaKey || event.altKey) return;
  const steps = { ArrowRight: current + 1, ArrowDown: current + 1, ArrowLeft: current - 1, ArrowUp: current - 1,
    Home: 0, End: shown.length - 1 };
  if (event.key in steps) { show(steps[event.key]); event.preventDefault(); }
  else if (event.key === "h" || event.key === "H") toggle();
  else if (event.key === "Escape") { search.blur(); list.focus(); }
});
apply();
</script>
</body>
</html>
"""
