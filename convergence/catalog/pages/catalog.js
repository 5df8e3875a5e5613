// The catalogue: one page per asset and column, by the part of the address after #. Texts are set as text, never as
// markup, so whatever a name holds is only shown.
"use strict";

const data = JSON.parse(document.getElementById("catalog").textContent);
const assets = new Map(data.assets.map((asset) => [asset.key, asset]));
const columns = new Map(); // "table.column" -> column, with its table and what is made from it
for (const asset of data.assets)
  for (const column of asset.columns) columns.set(id(asset.key, column.name), { ...column, table: asset.key, to: [] });
for (const [name, column] of columns) for (const source of column.from) columns.get(source)?.to.push(name);

const view = document.getElementById("view");
const search = document.getElementById("search");
document.getElementById("made").textContent = `${data.assets.length} assets, as of ${data.made_at}`;

function id(table, name) { return `${table}.${name}`; }
function assetLink(key) { return el("a", { href: `#asset/${encodeURIComponent(key)}` }, key); }
function columnLink(name, shown) { return el("a", { href: `#column/${encodeURIComponent(name)}`, class: "mono" }, shown ?? name); }

function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) node.setAttribute(name, value);
  node.append(...children.flat(9).filter((child) => child !== null && child !== undefined));
  return node;
}
function table(heads, rows) {
  const kind = (cell) => (typeof cell === "number" ? { class: "number" } : {});
  const shown = (cell) => (typeof cell === "number" ? cell.toLocaleString("en", { maximumSignificantDigits: 6 }) : cell ?? "");
  return el("table", {}, el("thead", {}, el("tr", {}, heads.map((head, n) => el("th", rows.length ? kind(rows[0][n]) : {}, head)))),
    el("tbody", {}, rows.map((row) => el("tr", {}, row.map((cell) => el("td", kind(cell), shown(cell)))))));
}
function facts(pairs) {
  return el("dl", {}, pairs.filter(([, value]) => value !== null && value !== "" && value?.length !== 0)
    .map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}
const separated = (nodes) => nodes.flatMap((node, n) => (n ? [", ", node] : [node]));
const tags = (column) => Object.entries(column.tags).map(([name, value]) => el("span", { class: `tag ${name}` }, `${name}: ${value}`));

function listPage(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = (...parts) => words.every((word) => parts.join(" ").toLowerCase().includes(word));
  const found = data.assets.filter((a) => fits(a.key, a.description, a.group, a.layer, a.kinds, a.owners));
  const named = words.length ? [...columns].filter(([name, c]) => fits(name, c.description, ...Object.values(c.tags))) : [];
  const groups = [...new Set(found.map((a) => a.group))].sort();
  view.replaceChildren(
    el("h1", {}, words.length ? `${found.length} assets and ${named.length} columns` : "All assets"),
    ...groups.map((group) => [el("h2", {}, group), table(["asset", "what it is", "layer", "owner", "rows", "checks"],
      found.filter((a) => a.group === group).map((a) => [assetLink(a.key), a.description.split("\n")[0], a.layer,
        a.owners.join(", "), a.versions ? a.versions.rows : "", verdicts(a)]))]).flat(),
    named.length ? el("h2", {}, "Columns") : "",
    named.length ? table(["column", "what it is", ""], named.slice(0, 200).map(([name, c]) => [columnLink(name), c.description, tags(c)])) : "",
    found.length || named.length ? "" : el("p", {}, "Nothing has these words. Escape clears the search."));
}
function verdicts(asset) {
  const number = (verdict) => asset.checks.filter((check) => check.verdict === verdict).length;
  const open = ["failed", "warning", "never run"].filter(number);
  if (!asset.checks.length) return "";
  return el("span", { class: open[0]?.replace("never run", "soft") ?? "passed" },
    [`${number("passed")}/${asset.checks.length}`, ...open.map((verdict) => `${number(verdict)} ${verdict}`)].join(", "));
}

function assetPage(asset) {
  const v = asset.versions, c = asset.cost, money = (value) => `${value.toPrecision(3)} ${data.prices.currency}`;
  const down = data.assets.filter((other) => other.upstream.includes(asset.key)).map((other) => other.key);
  const served = data.services.filter((service) => service.columns.some((name) => columns.get(name)?.table === asset.key));
  view.replaceChildren(
    el("h1", {}, asset.key), el("p", { class: "text" }, asset.description),
    facts([["owner", asset.owners.join(", ")], ["group, layer", `${asset.group}, ${asset.layer}`], ["kinds", asset.kinds.join(", ")],
      ["contract", asset.contract], ["partitions", asset.partitions], ["freshness", asset.freshness], ["code version", asset.code_version],
      ["made from", separated(asset.upstream.map(assetLink))], ["read by", separated(down.map(assetLink))],
      ["served by", separated(served.map((service) => `${service.name} (${service.about})`))]]),
    el("h2", {}, "Columns"),
    table(["column", "type", "what it is", "rules", ""], asset.columns.map((column) => [columnLink(id(asset.key, column.name), column.name),
      el("span", { class: "mono" }, column.type), column.description, column.rules.join("; "), tags(column)])),
    el("h2", {}, "Checks"),
    asset.checks.length ? table(["check", "what it holds", "last verdict", "partition", "when"], asset.checks.map((check) => [check.name + (check.blocking ? " (blocking)" : ""),
      check.description, el("span", { class: check.verdict }, check.verdict), check.partition, check.at])) : el("p", { class: "soft" }, "none"),
    el("h2", {}, "Versions"),
    v ? facts([["rows", v.rows.toLocaleString("en")], ["partitions written", String(v.partitions)], ["newest write", v.made_at ?? ""],
      ["table version", String(v.table_version)], ["code version then", v.code_version], ["origin of the data", v.origins.join(", ")]]) : el("p", { class: "soft" }, "not materialized"),
    v ? table(["partition", "rows", "table version", "content hash", "cpu seconds", "peak MiB", "bytes", `cost (${data.prices.currency})`], v.newest.map((p) => [p.partition || "whole table",
      p.rows, p.version, el("span", { class: "mono" }, p.hash), p.cpu_seconds ?? "", p.peak_memory_mib ?? "", p.bytes_written ?? "", p.cost ?? ""])) : "",
    el("h2", {}, "Cost"),
    c ? facts([["making what counts", `${money(c.making)}: ${c.cpu_seconds.toPrecision(3)} CPU seconds for ${c.measured} partitions`],
      ["keeping it", `${money(c.keeping)} a month: ${c.bytes_written.toLocaleString("en")} bytes`], ["highest peak", `${c.peak_memory_mib.toFixed(0)} MiB`]])
      : el("p", { class: "soft" }, "not measured"));
}

function columnPage(name) {
  const column = columns.get(name), after = reached(name);
  const layers = [...new Set(after.map((one) => assets.get(columns.get(one).table).layer))];
  const held = new Set([name, ...after]);
  const services = data.services.filter((service) => service.columns.some((one) => held.has(one)));
  view.replaceChildren(
    el("h1", {}, assetLink(column.table), `.${column.name}`), el("p", { class: "text" }, column.description),
    el("p", {}, el("span", { class: "mono" }, column.type), " ", tags(column)),
    el("h2", {}, "Made from"), tree(name, new Set()),
    el("h2", {}, `Impact: ${after.length} columns depend on it`),
    ...layers.map((layer) => [el("h3", {}, layer), table(["asset", "columns"], [...assets.keys()].filter((key) => assets.get(key).layer === layer)
      .map((key) => [key, after.filter((one) => columns.get(one).table === key)]).filter(([, names]) => names.length)
      .map(([key, names]) => [assetLink(key), separated(names.map((one) => columnLink(one, columns.get(one).name)))]))]).flat(),
    services.length ? el("h3", {}, "served over HTTP") : "",
    services.length ? table(["service", "where"], services.map((service) => [service.name, service.about])) : "");
}
function tree(name, shown) {
  const sources = columns.get(name)?.from ?? [];
  if (!sources.length) return el("p", { class: "soft" }, columns.get(name)?.tags.made_here ?? "the first of its kind here");
  return el("ul", { class: "tree" }, sources.map((source) => {
    const again = shown.has(source), more = columns.get(source)?.from.length;
    shown.add(source);
    return el("li", {}, columnLink(source), again && more ? el("span", { class: "soft" }, " (above)") : "", more && !again ? tree(source, shown) : "");
  }));
}
function reached(name) {
  const seen = new Set([name]), left = [name];
  while (left.length) for (const next of columns.get(left.pop()).to) if (!seen.has(next)) { seen.add(next); left.push(next); }
  return [...columns.keys()].filter((one) => seen.has(one) && one !== name);
}

function show() {
  const [kind, given] = location.hash.slice(1).split("/"), name = given ? decodeURIComponent(given) : "";
  if (kind === "asset" && assets.has(name)) assetPage(assets.get(name));
  else if (kind === "column" && columns.has(name)) columnPage(name);
  else listPage(search.value);
  document.title = name ? `${name} - catalogue` : "Catalogue";
  scrollTo(0, 0);
}
addEventListener("hashchange", () => { show(); if (location.hash.length > 1) view.focus(); });
search.addEventListener("input", () => { if (location.hash.length > 1) history.pushState(null, "", "#"); show(); });
addEventListener("keydown", (event) => {
  if (event.key === "/" && document.activeElement !== search) { event.preventDefault(); search.focus(); search.select(); }
  if (event.key === "Escape" && document.activeElement === search) { search.value = ""; show(); }
  if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
  const links = [search, ...view.querySelectorAll("a")], at = links.indexOf(document.activeElement);
  if (at < 0) return;
  event.preventDefault();
  links[Math.min(links.length - 1, Math.max(0, at + (event.key === "ArrowDown" ? 1 : -1)))].focus();
});
show();
