// The search page: what is asked stands after the # of the address, so that it can be shared, goes back and forth, and
// is in no log of page loads. Texts are set as text, never as markup, so whatever an item holds is only shown.
"use strict";

const at = (id) => document.getElementById(id);
const query = at("query"), view = at("view"), results = at("results"), said = at("status");
const NAMES = { image: "Images", text: "Text", code: "Code" };
const SHARED = ["q", "code", "like", "modality", "from", "to", "cursor"];
const LONGEST = { q: 500, code: 4000 }; // as the service takes them
let image = null; // the file that is searched by
let token = ""; // of a service that wants one; kept as long as the page is open
let held = ""; // what the index has, in words
let latest = 0; // number of the newest search: an older answer that comes late is left

function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) node.setAttribute(name, value);
  node.append(...children.flat(9).filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}
const asked = () => new URLSearchParams(location.hash.slice(1));
function address(changes) {
  const params = asked();
  params.delete("cursor");
  for (const [name, value] of Object.entries(changes)) value ? params.set(name, value) : params.delete(name);
  return `#${params}`;
}
const another = (kind, value) => address({ q: "", code: "", like: "", image: "", [kind]: value.slice(0, LONGEST[kind] ?? 100) });

function marked(text, terms, within) {
  if (!terms.length || !text) return text;
  const any = terms.map((term) => term.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|");
  const found = new RegExp(within ? `(${any})` : `(?<![\\p{L}\\p{N}])(${any})(?![\\p{L}\\p{N}])`, "giu");
  return text.split(found).map((part, n) => (n % 2 ? el("mark", {}, part) : part));
}
function picture(one) {
  const frame = el("div", { class: "picture" });
  if (!one.thumbnail) return frame.classList.add("none"), frame;
  const shown = el("img", { alt: one.title ?? one.text ?? "", loading: "lazy" });
  const none = () => { shown.remove(); frame.classList.add("none"); };
  shown.addEventListener("error", none);
  if (token) call(one.thumbnail).then((answer) => answer.blob()).then((blob) => { shown.src = URL.createObjectURL(blob); }, none);
  else shown.src = one.thumbnail;
  frame.append(shown);
  return frame;
}
function card(one) {
  const percent = `${Math.round(one.relevance * 100)} %`, like = another("like", one.item_id);
  const part = (name, value) => (value === null ? null : `${name} ${value.toFixed(3)}`);
  return el("li", { class: `card ${one.modality}` },
    one.modality === "image" ? picture(one) : null,
    one.title ? el("h2", {}, marked(one.title, one.matched)) : null,
    one.text && one.text !== one.title ? el("p", {}, marked(one.text, one.matched)) : null,
    one.code ? el("pre", { tabindex: "0", "aria-label": "Code" },
      one.highlighted.map(([kind, text]) => el("span", kind ? { class: kind } : {}, marked(text, one.matched.filter((word) => word.length > 2), true)))) : null,
    el("div", { class: "facts" },
      el("span", { class: `tag ${one.modality}` }, one.modality), one.language ? el("span", { class: "tag" }, one.language) : null,
      el("span", {}, one.day), one.licence ? el("span", {}, one.licence) : null,
      el("a", { href: like, class: "similar", "aria-label": `Similar to ${one.title ?? one.item_id}` }, "similar"),
      el("span", { class: "relevance", title: [part("dense", one.dense), part("sparse", one.sparse)].filter(Boolean).join(", ") },
        el("meter", { min: 0, max: 1, value: one.relevance, "aria-label": `relevance ${percent}` }), percent)));
}

async function call(path, options) {
  const answer = await fetch(path, { ...options, headers: token ? { Authorization: `Bearer ${token}` } : {} });
  if (answer.ok) return answer;
  const { error } = await answer.json().catch(() => ({ error: { code: String(answer.status), message: "no answer", next: "try again" } }));
  throw Object.assign(new Error(`${error.message}: ${error.next}`), { code: error.code });
}
function show(params, found) {
  const shown = found.results.length, first = found.offset + 1;
  results.replaceChildren(...found.results.map(card));
  const version = ` in index ${found.index_version.slice(0, 12)}, ${found.took_ms.toFixed(0)} ms`;
  said.replaceChildren(...(shown ? [el("b", {}, `${first}–${first + shown - 1}`), ` of the best ${found.total}${version}`] : [`Nothing was found${version}`]));
  at("pages").replaceChildren(...[
    params.get("cursor") ? el("a", { href: address({}) }, "First page") : null,
    found.next ? el("a", { href: address({ cursor: found.next }), rel: "next" }, "Next page") : null].filter(Boolean));
}
function failed(error) {
  results.replaceChildren();
  at("pages").replaceChildren();
  said.className = "failed";
  said.replaceChildren(error.message);
  if (error.code === "index_gone") said.append(" ", el("a", { href: address({}) }, "First page"));
  if (error.code === "unauthorized") {
    const given = el("input", { type: "password", "aria-label": "Token", placeholder: "token" });
    given.addEventListener("change", () => { token = given.value.trim(); start(); });
    said.append(" ", given);
  }
}
function told(params) {
  const by = (what, ...how) => at("asked").replaceChildren(...how, el("span", {}, what));
  if (params.get("image") && image) by(`Similar to ${image.name}`, el("img", { src: URL.createObjectURL(image), alt: "" }));
  else if (params.get("like")) by(`Similar to ${params.get("like")}`);
  else if (params.get("code")) by("Similar to this code", el("pre", {}, params.get("code")));
  else at("asked").replaceChildren();
}
async function search() {
  const params = asked(), mine = ++latest;
  query.value = params.get("q") ?? "";
  for (const name of ["from", "to"]) at(name).value = params.get(name) ?? "";
  const kinds = params.get("modality")?.split(",") ?? [];
  for (const box of document.querySelectorAll("#modalities input")) box.checked = kinds.includes(box.value);
  document.title = params.get("q") ? `${params.get("q")} - search` : "Search";
  said.className = "";
  told(params);
  const passed = new URLSearchParams([...params].filter(([name, value]) => SHARED.includes(name) && value));
  if (!["q", "code", "like", "image"].some((name) => params.get(name)))
    return results.replaceChildren(), at("pages").replaceChildren(), said.replaceChildren(`Type what you look for, or drop an image here.${held}`);
  if (params.get("image") && !image) return failed(new Error("The image is no longer here: choose it again"));
  view.classList.add("busy");
  try {
    const answer = await (params.get("image") ? call(`v1/search/image?${passed}`, { method: "POST", body: image }) : call(`v1/search?${passed}`));
    const found = await answer.json();
    if (mine === latest) show(params, found);
  } catch (error) {
    if (mine === latest) failed(error);
  } finally {
    if (mine === latest) { view.classList.remove("busy"); view.dataset.done = mine; }
  }
}
function go(hash) { if (hash === location.hash) search(); else location.hash = hash; }
function byImage(file) { image = file; query.value = ""; go(another("image", String(Date.now()))); }

async function start() {
  const state = await fetch("health").then((answer) => answer.json()).catch(() => ({ modalities: {} }));
  const counts = Object.entries(state.modalities).map(([kind, count]) => `${count.toLocaleString("en")} of ${kind}`);
  held = counts.length ? ` There are ${counts.join(", ")}.` : " No index is live yet.";
  at("modalities").replaceChildren(...Object.keys(state.modalities).map((kind) =>
    el("label", { class: "chip", title: `${state.modalities[kind].toLocaleString("en")} items` },
      el("input", { type: "checkbox", value: kind }), NAMES[kind] ?? kind)));
  await search();
}
at("form").addEventListener("submit", (event) => { event.preventDefault(); go(another("q", query.value.trim())); scrollTo(0, 0); });
at("filters").addEventListener("change", () => {
  const kinds = [...document.querySelectorAll("#modalities input:checked")].map((box) => box.value);
  const words = query.value.trim(); // also where they are typed and not sent yet
  go(address({ ...(words ? { q: words, code: "", like: "", image: "" } : {}), modality: kinds.join(","), from: at("from").value, to: at("to").value }));
});
at("choose").addEventListener("click", () => at("file").click());
at("file").addEventListener("change", (event) => { if (event.target.files[0]) byImage(event.target.files[0]); event.target.value = ""; });
addEventListener("hashchange", () => { search(); scrollTo(0, 0); if (asked().get("cursor")) view.focus({ preventScroll: true }); });
addEventListener("dragover", (event) => { event.preventDefault(); at("drop").hidden = false; });
addEventListener("dragleave", (event) => { if (!event.relatedTarget) at("drop").hidden = true; });
addEventListener("drop", (event) => { event.preventDefault(); at("drop").hidden = true; if (event.dataTransfer.files[0]) byImage(event.dataTransfer.files[0]); });
addEventListener("paste", (event) => { const file = event.clipboardData?.files[0]; if (file) { event.preventDefault(); byImage(file); } });
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/" && !["INPUT"].includes(document.activeElement?.tagName)) { event.preventDefault(); query.focus(); query.select(); }
  if (event.key === "Escape" && document.activeElement === query) { query.value = ""; go("#"); }
  if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
  const stops = [query, ...view.querySelectorAll("a")], place = stops.indexOf(document.activeElement);
  if (place < 0) return;
  event.preventDefault();
  stops[Math.min(stops.length - 1, Math.max(0, place + (event.key === "ArrowDown" ? 1 : -1)))].focus();
});
start();
