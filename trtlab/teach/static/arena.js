// static/arena.js: an arena whose buffers can be dragged. Python (teach/memory.py) draws and judges.
// In: model.get("face") (planners, unit: the step of a key in bytes, scale: height of a byte), model.get("shown").
// Out: messages {move, at} and {play, count}, one at a time: of those wished meanwhile only the last counts.

const STEP_MS = 450;

function render({ model, el }) {
  const { planners, unit, scale, width, names } = model.get("face");
  let held = null, playing = 0;
  const { ask, end } = inTurn(model, (_, last) => last);
  const canvas = make("div", { class: "timeline", onpointerdown: grab, onpointermove: drag, onpointerup: drop, onpointercancel: drop, onkeydown: key });
  const facts = make("div", { class: "grid" }), faults = make("div", { class: "why bad", role: "status", hidden: true });
  const planner = make("select", { "aria-label": "planner" }, ...planners.map((name) => make("option", { value: name }, name)));
  const said = make("span", { class: "dim", "aria-live": "polite" });
  const bar = make("div", { class: "head tools" }, labelled("planner", planner),
    button("Step", "The planner's next decision", () => play(next())), button("Play", "All decisions in turn", run),
    button("Start over", "Put every buffer on top of the other", () => { stop(); ask({ play: "no reuse", count: names.length }); }), said);
  const root = make("div", { class: "trt ar", role: "group", "aria-label": "Arena", "data-lm-suppress-shortcuts": "true", onkeydown: isPlainKey },
    make("div", { class: "card" }, bar, canvas, make("div", { class: "body" }, facts, faults),
      make("div", { class: "foot" }, "Drag a buffer up or down, or: ", ...keyHints([["Tab", "next"], ["↑ ↓", "move"], ["PgUp PgDn", "far"], ["Home", "to the floor"]]))));

  const stop = () => { clearInterval(playing); playing = 0; };
  const isPlayed = () => model.get("shown").planner === planner.value;
  const next = () => (isPlayed() && model.get("shown").count < names.length ? model.get("shown").count + 1 : 1);
  const play = (count) => ask({ play: planner.value, count });
  function run() {
    stop();
    let count = 0;
    playing = setInterval(() => { play((count += 1)); if (count >= names.length) stop(); }, STEP_MS);
  }

  const bytes = (pixels) => Math.round(pixels * (width / canvas.firstChild.getBoundingClientRect().width) / scale / unit) * unit;
  const buffer = (name) => canvas.querySelector(`[data-buffer="${CSS.escape(name)}"]`);
  const move = (name, at) => { stop(); ask({ move: name, at }); };
  function grab(event) {
    const found = event.target.closest("[data-buffer]");
    if (!found) return;
    held = { name: found.dataset.buffer, at: Number(found.dataset.at), y: event.clientY };
    found.focus({ preventScroll: true });
    canvas.setPointerCapture(event.pointerId);
    event.preventDefault();
  }
  function drag(event) { if (held) move(held.name, held.at + bytes(held.y - event.clientY)); }
  function drop() { held = null; }
  function key(event) {
    const found = event.target.closest("[data-buffer]");
    const by = { ArrowUp: 1, ArrowDown: -1, PageUp: 8, PageDown: -8, Home: -Infinity }[event.key];
    if (!found || by === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    move(found.dataset.buffer, by === -Infinity ? 0 : Number(found.dataset.at) + by * unit);
  }

  function draw() {
    const { svg, facts: found, faults: wrong, planner: who, count } = model.get("shown");
    const focused = canvas.contains(document.activeElement) ? document.activeElement.dataset.buffer : null;
    canvas.replaceChildren(drawn(svg));
    if (focused) buffer(focused)?.focus({ preventScroll: true });
    facts.replaceChildren(...factBoxes(found));
    faults.hidden = !wrong.length;
    faults.textContent = wrong.join("; ");
    said.textContent = who === "by hand" ? "by hand" : `${who}: ${count} of ${names.length}`;
    root.dataset.score = found[2][1];
  }
  el.append(root);
  draw();
  model.on("change:shown", draw);
  return () => { stop(); end(); model.off("change:shown", draw); };
}
