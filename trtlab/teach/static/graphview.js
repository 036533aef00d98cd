// graphview: makes the SVG that Python drew clickable. State (selection, folding, search) lives in Python; only the
// view (zoom and position) lives here. Text from models enters as text nodes or through the XML parser, never as HTML.

const ZOOM = 1.25, FAR = 4, SMALL = 0.06, LARGE = 4, READABLE = 0.62;

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

const button = (text, label, onclick) => make("button", { type: "button", title: label, "aria-label": label, onclick }, text);

function describe(panel, details, toggle) {
  const sections = (details.sections ?? []).map(({ head, rows }) => [
    head ? make("h4", {}, head) : null,
    make("dl", {}, ...rows.flatMap(([label, text]) => [make("dt", {}, label), make("dd", {}, text)])),
  ]);
  const fold = details.fold
    ? make("button", { type: "button", class: "gv-toggle", onclick: () => toggle(details.fold) },
        details.folded ? "Open this group" : "Fold this group")
    : null;
  panel.replaceChildren(make("h3", {}, details.title ?? ""), make("p", { class: "gv-dim" }, details.kind ?? ""),
    ...[fold, ...sections.flat()].filter(Boolean));
}

// The drawing: elements by key, neighbours, and where each stands. Keys are Python's own (n12, g3).
class Drawing {
  constructor(source) {
    const parsed = new DOMParser().parseFromString(source, "image/svg+xml");
    this.svg = document.importNode(parsed.documentElement, true);
    [this.width, this.height] = this.svg.getAttribute("viewBox").split(" ").slice(2).map(Number);
    for (const name of ["width", "height", "viewBox", "role"]) this.svg.removeAttribute(name);
    this.svg.setAttribute("role", "group");
    this.world = this.svg.querySelector(".gv-world");
    this.items = new Map();
    this.edges = [...this.svg.querySelectorAll(".gv-edge")];
    for (const element of this.svg.querySelectorAll("[data-key]")) {
      this.items.set(element.dataset.key, element);
      element.setAttribute("role", "button");
      element.setAttribute("tabindex", "-1");
      element.setAttribute("aria-label", element.querySelector("title").textContent);
    }
  }
  parts(key) {
    return [this.items.get(key), this.svg.querySelector(`[data-frame="${CSS.escape(key)}"]`)].filter(Boolean);
  }
  middle(key) {
    const { x, y, width, height } = this.items.get(key).getBBox();
    return { x: x + width / 2, y: y + height / 2 };
  }
  mark(name, keys) {
    for (const element of this.svg.querySelectorAll(`.${name}`)) element.classList.remove(name);
    for (const key of keys) for (const element of this.parts(key)) element.classList.add(name);
  }
  lightUp(key) {
    for (const edge of this.edges) {
      edge.classList.toggle("gv-out", edge.dataset.from === key);
      edge.classList.toggle("gv-in", edge.dataset.to === key);
    }
  }
  // The next item for an arrow key: along the lines up and down, else whatever is nearest in that direction.
  neighbour(key, arrow) {
    const here = this.middle(key);
    const side = (a) => ({ ArrowDown: a.y - here.y, ArrowUp: here.y - a.y, ArrowRight: a.x - here.x, ArrowLeft: here.x - a.x })[arrow];
    const linked = this.edges.flatMap(({ dataset: { from, to } }) =>
      arrow === "ArrowDown" && from === key ? [to] : arrow === "ArrowUp" && to === key ? [from] : []);
    const upright = arrow === "ArrowDown" || arrow === "ArrowUp";
    const rank = (other) => {
      const at = this.middle(other), along = side(at);
      const across = Math.abs(upright ? at.x - here.x : at.y - here.y);
      return along > 1 && (upright || across < 4 * along) ? along + (upright ? 1 : 5) * across : Infinity;
    };
    const best = (keys) => keys.reduce((a, b) => (rank(b) < rank(a) ? b : a), key);
    return linked.length ? linked.reduce((a, b) => (Math.abs(this.middle(b).x - here.x) < Math.abs(this.middle(a).x - here.x) ? b : a))
      : best([...this.items.keys()].filter((other) => other !== key));
  }
}

function render({ model, el }) {
  const view = { x: 0, y: 0, k: 1 };
  let drawing = null, placed = false;
  const choose = (key) => { model.set("chosen", key); model.save_changes(); };
  const toggle = (key) => model.send({ do: "toggle", key });
  const change = (name, value) => { model.set(name, value); model.save_changes(); };

  // --- what stands on the page
  const search = make("input", { type: "search", placeholder: "Search name, operator, kernel", "aria-label": "Search nodes",
    oninput: () => change("query", search.value) });
  const count = make("span", { class: "gv-count", role: "status" });
  const group = make("select", { "aria-label": "Group by", onchange: () => change("grouping", group.value) },
    ...model.get("groupings").map((word) => make("option", { value: word }, `by ${word}`)));
  const canvas = make("div", { class: "gv-canvas", style: `height:${model.get("height")}px` });
  const panel = make("div", { class: "gv-panel", role: "region", "aria-label": "Details", "aria-live": "polite",
    tabindex: "0", style: `max-height:${model.get("height")}px` });
  const note = make("div", { class: "gv-notice", role: "status" });
  const several = model.get("groupings").length > 1;
  el.replaceChildren(make("div", { class: "trt gv", "data-lm-suppress-shortcuts": "true" },
    make("div", { class: "gv-bar" }, make("b", {}, model.get("title")),
      make("span", { class: "gv-tools" }, search, count,
        several ? group : null,
        several ? button("Fold all", "Fold all groups", () => model.send({ do: "fold" })) : null,
        several ? button("Open all", "Open all groups", () => model.send({ do: "unfold" })) : null,
        button("−", "Zoom out (key −)", () => zoom(1 / ZOOM)), button("+", "Zoom in (key +)", () => zoom(ZOOM)),
        button("Fit", "Show everything (key 0)", () => fit()))),
    note, make("div", { class: "gv-main" }, canvas, panel),
    make("div", { class: "gv-legend" }, ...model.get("legend").map(([colour, text]) =>
      make("span", { class: `gv-chip ${colour}` }, make("i"), text))),
    make("div", { class: "gv-dim gv-foot" }, model.get("foot"), model.get("foot") ? make("br") : null,
      "Drag to move, click a node for details. Keys: arrows walk along the edges, Enter opens or folds a group, " +
      "f folds the group around the node, + − 0 zoom, / searches (Enter: next hit), Esc clears. The wheel zooms after a click, or with Ctrl.")));

  // --- the view
  const size = () => [canvas.clientWidth, canvas.clientHeight];
  const apply = () => drawing.world.setAttribute("transform", `translate(${view.x.toFixed(1)} ${view.y.toFixed(1)}) scale(${view.k.toFixed(4)})`);
  function fit(smallest = 0) {
    const [width, height] = size();
    view.k = Math.min(1.15, width / drawing.width, Math.max(height / drawing.height, smallest));
    view.k = Math.max(view.k, smallest, SMALL);
    view.x = (width - drawing.width * view.k) / 2;
    view.y = Math.max(0, (height - drawing.height * view.k) / 2);
    const first = drawing.items.keys().next().value;
    if (drawing.width * view.k > width && smallest && first) view.x = width / 2 - drawing.middle(first).x * view.k;
    apply();
  }
  function zoom(factor, at = size().map((length) => length / 2)) {
    const k = Math.min(LARGE, Math.max(SMALL, view.k * factor));
    view.x = at[0] - ((at[0] - view.x) * k) / view.k;
    view.y = at[1] - ((at[1] - view.y) * k) / view.k;
    view.k = k;
    apply();
  }
  const onScreen = (key) => { const at = drawing.middle(key); return [at.x * view.k + view.x, at.y * view.k + view.y]; };
  function reveal(key) {
    const [x, y] = onScreen(key), [width, height] = size();
    if (x > 40 && x < width - 40 && y > 20 && y < height - 20) return;
    view.x += width / 2 - x;
    view.y += height / 2 - y;
    apply();
  }

  // --- what Python says
  function redraw() {
    const key = model.get("chosen");
    const before = drawing?.items.has(key) ? onScreen(key) : null;
    const hadFocus = drawing?.svg.contains(document.activeElement);
    drawing = new Drawing(model.get("svg"));
    canvas.replaceChildren(drawing.svg);
    if (before && drawing.items.has(key)) {
      apply();
      const after = onScreen(key);
      view.x += before[0] - after[0];
      view.y += before[1] - after[1];
      apply();
    } else if (placed) fit(READABLE);
    select(hadFocus);
    hit();
  }
  function select(focus = false) {
    const key = model.get("chosen");
    for (const element of drawing.items.values()) { element.setAttribute("tabindex", "-1"); element.setAttribute("aria-pressed", "false"); }
    drawing.mark("gv-chosen", [key]);
    drawing.lightUp(key);
    const current = drawing.items.get(key) ?? drawing.items.values().next().value;
    current?.setAttribute("tabindex", "0");
    if (drawing.items.has(key)) {
      current.setAttribute("aria-pressed", "true");
      if (placed) reveal(key);
      if (focus) current.focus({ preventScroll: true });
    }
  }
  function hit() {
    const hits = model.get("hits"), [at, total] = model.get("found"), query = model.get("query").trim();
    if (search.value.trim() !== query) search.value = query;
    drawing.mark("gv-hit", hits);
    drawing.svg.classList.toggle("gv-searching", query !== "");
    count.textContent = !query ? "" : !total ? "no hits" : at ? `${at} of ${total}` : `${total} ${total === 1 ? "hit" : "hits"}`;
    if (query && hits.length && !at && placed) reveal(hits[0]);
  }
  const tell = () => { note.textContent = model.get("notice"); note.hidden = !model.get("notice"); group.value = model.get("grouping"); };
  const listeners = { "change:svg": redraw, "change:chosen": () => select(drawing.svg.contains(document.activeElement)),
    "change:details": () => describe(panel, model.get("details"), toggle), "change:hits": hit, "change:found": hit,
    "change:notice": tell, "change:grouping": tell };
  for (const [event, listener] of Object.entries(listeners)) model.on(event, listener);

  // --- what the reader does
  const keyOf = (target) => target.closest?.("[data-key]")?.dataset.key ?? "";
  let drag = null;
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    drag = { x: event.clientX, y: event.clientY, left: view.x, top: view.y, moved: false, key: keyOf(event.target) };
    (drawing.items.get(drag.key) ?? drawing.svg.querySelector('[tabindex="0"]'))?.focus({ preventScroll: true });
    event.preventDefault();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!drag) return drawing.lightUp(keyOf(event.target) || model.get("chosen"));
    const dx = event.clientX - drag.x, dy = event.clientY - drag.y;
    if (!drag.moved && Math.hypot(dx, dy) < FAR) return;
    if (!drag.moved) canvas.setPointerCapture(event.pointerId);
    Object.assign(view, { x: drag.left + dx, y: drag.top + dy });
    drag.moved = true;
    apply();
  });
  canvas.addEventListener("pointerup", () => { if (drag && !drag.moved) choose(drag.key); drag = null; });
  canvas.addEventListener("pointercancel", () => { drag = null; });
  canvas.addEventListener("pointerleave", () => drawing.lightUp(model.get("chosen")));
  canvas.addEventListener("dblclick", (event) => { const key = keyOf(event.target); if (key.startsWith("g")) toggle(key); });
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !canvas.contains(document.activeElement)) return; // the page scrolls until the graph is in use
    event.preventDefault();
    const { left, top } = canvas.getBoundingClientRect();
    zoom(Math.exp(-event.deltaY / 400), [event.clientX - left, event.clientY - top]);
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const key = model.get("chosen"), here = drawing.items.has(key) ? key : "";
    const focused = keyOf(document.activeElement);
    const actions = { "+": () => zoom(ZOOM), "=": () => zoom(ZOOM), "-": () => zoom(1 / ZOOM), 0: () => fit(), "/": () => search.focus(),
      Escape: () => choose(""), f: () => model.send({ do: "around" }),
      Enter: () => (focused === here && here.startsWith("g") ? toggle(here) : choose(focused)), " ": () => actions.Enter() };
    const act = event.key.startsWith("Arrow") ? () => choose(here ? drawing.neighbour(here, event.key) : focused) : actions[event.key];
    if (!act) return;
    event.preventDefault();
    event.stopPropagation();
    act();
  });
  search.addEventListener("keydown", (event) => {
    if (event.key === "Enter") model.send({ do: "next", step: event.shiftKey ? -1 : 1 });
    if (event.key === "Escape") { change("query", ""); search.value = ""; }
    event.stopPropagation();
  });

  redraw();
  describe(panel, model.get("details"), toggle);
  tell();
  const watch = new ResizeObserver(() => { if (!placed && canvas.clientWidth) { placed = true; fit(READABLE); select(); } });
  watch.observe(canvas);
  return () => {
    watch.disconnect();
    for (const [event, listener] of Object.entries(listeners)) model.off(event, listener);
  };
}

export default { render };
