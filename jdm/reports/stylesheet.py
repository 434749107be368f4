"""The style of a page: light, one column on a phone, no fonts to fetch."""

CSS = """
:root { color-scheme: light; --ink: #222; --soft: #666; --line: #e2e2e2;
  --blue: #0072b2; --red: #b94e00; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1060px; padding: 28px 24px 60px;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, Helvetica,
  Arial, sans-serif; color: var(--ink); background: #fff; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 4px; }
h2 { font-size: 22px; margin: 44px 0 8px; padding-top: 18px;
  border-top: 2px solid var(--ink); }
h3 { font-size: 17px; margin: 8px 0 0; }
h4 { font-size: 14px; margin: 0 0 6px; }
p { max-width: 74ch; margin: 8px 0 12px; }
.lead { font-size: 17px; }
.note, figcaption, caption { font-size: 13px; line-height: 1.4;
  color: var(--soft); margin: 2px 0; }
.facts { display: grid; gap: 10px 18px; margin: 0 0 16px;
  grid-template-columns: repeat(auto-fill, minmax(146px, 1fr)); }
.facts div { border-top: 1px solid var(--line); padding-top: 4px; }
dt { font-size: 13px; line-height: 1.3; color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
.tiles { display: grid; gap: 10px; margin: 16px 0;
  grid-template-columns: repeat(auto-fit, minmax(128px, 1fr)); }
.tile { border: 1px solid var(--line); border-radius: 8px;
  padding: 10px 12px; }
.tile b { display: block; font-size: 22px; line-height: 1.25;
  overflow-wrap: anywhere; }
.tile span { font-size: 13px; color: var(--soft); display: block; }
.tile.first { border: 2px solid var(--blue); }
.pair { display: grid; gap: 20px; align-items: start;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); }
img.figure { width: 100%; max-width: 800px; height: auto; display: block; }
img.pixels, img.photo { width: 100%; display: block; background: #f4f4f4; }
img.pixels { image-rendering: pixelated; }
.card { display: grid; gap: 14px 22px; align-items: start;
  grid-template-columns: 138px minmax(0, 1fr) minmax(0, 400px);
  border: 1px solid var(--line); border-radius: 10px; padding: 16px;
  margin: 14px 0; break-inside: avoid; }
.target img { border: 2px solid var(--ink); border-radius: 4px; }
.strip { display: grid; gap: 8px; margin-bottom: 12px;
  grid-template-columns: repeat(5, minmax(0, 1fr)); }
.strip figure { margin: 0; }
.strip img { border: 2px solid; border-radius: 4px; }
.strip figcaption { text-align: center; overflow-wrap: anywhere; }
.strip figcaption b { display: block; }
.strip small { display: block; font-size: 11px; line-height: 1.25; }
/* Numbers and sentences share this column. */
.findings td.number { text-align: left; white-space: normal; }
figure.plot { margin: 0; }
figure.wide { grid-column: 1 / -1; }
figure.wide img { max-width: 100%; }
figure.plot figcaption::first-letter { text-transform: uppercase; }
ul.note { padding-left: 20px; }
.contents { max-width: none; }
a { color: var(--blue); }
code { font-size: 12px; overflow-wrap: anywhere; }
figure.helpful img { border-color: var(--blue); }
figure.harmful img { border-color: var(--red); }
.helpful b, h4.helpful { color: var(--blue); }
.harmful b, h4.harmful { color: var(--red); }
.scroll { overflow-x: auto; margin: 8px 0 14px; }
table { border-collapse: collapse; font-size: 14px; }
caption { text-align: left; padding-bottom: 4px; }
th, td { text-align: left; padding: 4px 16px 4px 0; vertical-align: top;
  border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
th { font-weight: 600; white-space: nowrap; }
td.number { text-align: right; white-space: nowrap;
  font-variant-numeric: tabular-nums; }
details { margin: 10px 0; }
summary { cursor: pointer; color: var(--blue); }
li { max-width: 74ch; margin: 4px 0; }
@media (max-width: 900px) {
  .card { grid-template-columns: 120px minmax(0, 1fr); }
  .card .proof { grid-column: 1 / -1; }
}
@media (max-width: 560px) {
  body { padding: 18px 14px 40px; }
  h1 { font-size: 25px; }
  .card { grid-template-columns: minmax(0, 1fr); padding: 12px; }
  .target { display: grid; gap: 0 12px; align-content: start;
    grid-template-columns: 96px minmax(0, 1fr); }
  .target img { grid-row: 1 / span 6; }
}
"""
