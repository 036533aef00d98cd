// graphview: makes the SVG that Python drew clickable. State (selection, folding) lives in Python; only the view (zoom
// and position) lives here. Out: {toggle: group}, {around: true}, {all: whether to fold}. Text from models enters as text nodes or through the XML parser, never as HTML.

const ZOOM = 1.25, FAR = 4, SMALL = 0.004, LARGE = 4, READABLE = 1;
const KEYS = [["arrows", "walk along the edges"], ["Enter", "open or fold a group"], ["f", "fold around"], ["+ − 0", "zoom"], ["Esc", "clear"]];

function describe(panel, details, toggle) {
  const sections = (details.sections ?? []).map(({ head, rows }) => [
    head ? make("h4", {}, head) : null,
    make("dl", {}, ...rows.flatMap(([label, text]) => [make("dt", {}, label), make("dd", {}, text)])),
  ]);
  const fold = details.fold && make("button", { type: "button", class: "gv-toggle", onclick: () => toggle(details.fold) },
    details.folded ? "Open this group" : "Fold this group");
  panel.replaceChildren(make("h3", {}, details.title ?? ""), make("p", { class: "dim" }, details.kind ?? ""),
    ...[fold, ...sections.flat()].filter(Boolean));
}

// The drawing: elements by key, neighbours, and where each stands. Keys are Python's own (n12, g3).
class Drawing {
  constructor(source) {
    this.svg = drawn(source);
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
  middle(key) {
    const { x, y, width, height } = this.items.get(key).getBBox();
    return { x: x + width / 2, y: y + height / 2 };
  }
  choose(key) {
    for (const element of this.svg.querySelectorAll("[data-key], [data-frame]")) {
      const isChosen = key === (element.dataset.key ?? element.dataset.frame);
      element.classList.toggle("gv-chosen", isChosen);
      if (element.dataset.key) { element.setAttribute("tabindex", "-1"); element.setAttribute("aria-pressed", String(isChosen)); }
    }
    const current = this.items.get(key) ?? this.items.values().next().value;
    current?.setAttribute("tabindex", "0");
    this.lightUp(key);
    return current;
  }
  lightUp(key) {
    for (const edge of this.edges) {
      edge.classList.toggle("gv-out", edge.dataset.from === key);
      edge.classList.toggle("gv-in", edge.dataset.to === key);
    }
  }
  // The next item for an arrow key: along the lines up and down, else whatever is nearest in that direction.
  neighbour(key, arrow) {
    const here = this.middle(key), upright = /Down|Up/.test(arrow), sign = /Down|Right/.test(arrow) ? 1 : -1;
    const [near, far] = sign > 0 ? ["from", "to"] : ["to", "from"];
    const linked = upright ? this.edges.filter((edge) => edge.dataset[near] === key).map((edge) => edge.dataset[far]) : [];
    const rank = (other) => {
      const at = this.middle(other), [dx, dy] = [at.x - here.x, at.y - here.y];
      const along = sign * (upright ? dy : dx), across = Math.abs(upright ? dx : dy);
      if (linked.length) return across;
      return along > 1 && (upright || across < 4 * along) ? along + (upright ? 1 : 5) * across : Infinity;
    };
    return (linked.length ? linked : [key, ...this.items.keys()]).reduce((a, b) => (rank(b) < rank(a) ? b : a));
  }
}

function render({ model, el }) {
  const view = { x: 0, y: 0, k: 1 };
  let drawing = null, placed = false;
  const choose = (key) => model.change("chosen", key);
  const toggle = (key) => model.send({ toggle: key });

  // --- what stands on the page
  const face = model.get("face");
  const group = make("select", { "aria-label": "Group by", onchange: () => model.change("grouping", group.value) },
    ...face.groupings.map((word) => make("option", { value: word }, `by ${word}`)));
  const canvas = make("div", { class: "gv-canvas" });
  const panel = make("div", { class: "gv-panel tools", role: "region", "aria-label": "Details", "aria-live": "polite", tabindex: "0" });
  const note = make("div", { class: "gv-notice", role: "status" });
  const folds = model.get("svg").includes('data-key="g') ? [
    button("Fold all", "Fold all groups", () => model.send({ all: true })), button("Open all", "Open all groups", () => model.send({ all: false }))] : [];
  el.replaceChildren(make("div", { class: "trt gv", "data-lm-suppress-shortcuts": "true" },
    make("div", { class: "head tools" }, make("b", {}, face.title),
      make("span", { class: "gv-tools" }, group.length > 1 ? group : null, ...folds,
        button("−", "Zoom out (key −)", () => zoom(1 / ZOOM)), button("+", "Zoom in (key +)", () => zoom(ZOOM)),
        button("Fit", "Fit: show everything (key 0)", () => fit()),
        button("Full screen", "Full screen, and back (Esc)", () => (document.fullscreenElement ? document.exitFullscreen() : el.firstElementChild.requestFullscreen())))),
    note, make("div", { class: "gv-main" }, canvas, panel),
    make("div", { class: "gv-legend" }, ...face.legend.map(([colour, text]) => make("span", { class: `gv-chip ${colour}` }, make("i"), text))),
    make("div", { class: "foot" }, face.foot, face.foot ? make("br") : null,
      "Click for details, drag to move, wheel to zoom once clicked. ", ...keyHints(KEYS))));

  // --- the view
  const size = () => [canvas.clientWidth, canvas.clientHeight];
  const apply = () => drawing.world.setAttribute("transform", `translate(${view.x.toFixed(1)} ${view.y.toFixed(1)}) scale(${view.k.toFixed(4)})`);
  function fit(smallest = 0) {
    const [width, height] = size();
    view.k = Math.min(document.fullscreenElement ? 2.5 : 1.5, width / drawing.width, Math.max(height / drawing.height, smallest));
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
    if (x > 8 && x < width - 8 && y > 8 && y < height - 8) return;
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
  }
  function select(focus = false) {
    const key = model.get("chosen"), current = drawing.choose(key);
    if (!drawing.items.has(key)) return;
    if (placed) reveal(key);
    if (focus) current.focus({ preventScroll: true });
  }
  const tell = () => { note.textContent = model.get("notice"); note.hidden = !model.get("notice"); group.value = model.get("grouping"); };
  const listeners = { "change:svg": redraw, "change:chosen": () => select(drawing.svg.contains(document.activeElement)),
    "change:details": () => describe(panel, model.get("details"), toggle), "change:notice": tell, "change:grouping": tell };
  for (const [event, listener] of Object.entries(listeners)) model.on(event, listener);

  // --- what the reader does
  const keyOf = (target) => target.closest?.("[data-key]")?.dataset.key ?? "";
  let drag = null;
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || event.target === canvas) return; // the canvas itself is the corner that makes it taller
    drag = { x: event.clientX, y: event.clientY, left: view.x, top: view.y, moved: false, key: keyOf(event.target) };
    (drawing.items.get(drag.key) ?? drawing.svg.querySelector('[tabindex="0"]'))?.focus({ preventScroll: true });
    event.preventDefault();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!event.buttons) drag = null; // it was let go outside
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
  canvas.addEventListener("focusin", (event) => {
    canvas.scrollTo(0, 0); // the view moves the drawing, never the browser
    if (!drag && keyOf(event.target)) reveal(keyOf(event.target));
  });
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !canvas.contains(document.activeElement)) return; // the page scrolls until the graph is in use
    event.preventDefault();
    const { left, top } = canvas.getBoundingClientRect();
    zoom(Math.exp(-event.deltaY / 400), [event.clientX - left, event.clientY - top]);
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    if (!isPlainKey(event)) return;
    const here = drawing.items.has(model.get("chosen")) ? model.get("chosen") : "", focused = keyOf(document.activeElement);
    const actions = { "+": () => zoom(ZOOM), "=": () => zoom(ZOOM), "-": () => zoom(1 / ZOOM), 0: () => fit(), Escape: () => choose(""), f: () => model.send({ around: true }),
      Enter: () => (focused === here && here.startsWith("g") ? toggle(here) : choose(focused)), " ": () => actions.Enter() };
    const act = event.key.startsWith("Arrow") ? () => choose(here ? drawing.neighbour(here, event.key) : focused) : actions[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
  el.addEventListener("fullscreenchange", () => requestAnimationFrame(() => fit(document.fullscreenElement ? 0 : READABLE)));
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
