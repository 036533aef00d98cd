// Renders RewriteStepper (teach/stepper.py) and sends what the reader asks for. Python owns models, rules and steps;
// only the view (scale) lives here. In: model.get("run") (model, rules, steps), model.get("shown") (one step).
// Texts become text nodes, drawings are parsed as SVG; `about`, `refusals`, `nvidia` are markup that Python made and escaped.

const PIECE = 1 << 21, MOST_BYTES = 1 << 28, CHIPS = 14, SMALLEST = 0.7, LARGEST = 1.1, TALLEST = 760;

function render({ model, el }) {
  let wanted = 0, count = 0, told = null, busy = false, later = null, tall = 0;

  // --- what stands on the page
  const chooser = make("select", { "aria-label": "Model", onchange: () => choose() });
  const file = make("input", { type: "file", multiple: true, hidden: true, onchange: () => file.files[0] && upload([...file.files]) });
  const first = button("|◀", "Start: the whole way (Home)", () => go(0)), back = button("◀", "Step back (left arrow)", () => go(wanted - 1));
  const forward = button("▶", "Step forward (right arrow)", () => go(wanted + 1)), last = button("▶|", "Last step (End)", () => go(count));
  const slider = make("input", { type: "range", min: 0, "aria-label": "Step", oninput: () => go(Number(slider.value)) });
  const rules = make("div", { class: "st-rules", role: "group", "aria-label": "Rules and their steps" });
  const title = make("h3"), what = make("p", { class: "st-what" }), counts = make("dl", { class: "st-counts" });
  const panels = make("div", { class: "st-panels" }), legend = make("div", { class: "gv-legend" });
  const message = make("div", { class: "why bad", role: "alert", hidden: true });
  const about = make("div", { class: "st-about" }), refused = make("div", { class: "st-refused" }), theirs = make("div", { class: "st-refused" });
  const live = make("span", { class: "unseen", "aria-live": "polite" });
  const root = make("div", { class: "trt gv st", role: "group", "aria-label": "Rewrite stepper", "data-lm-suppress-shortcuts": "true" },
    make("div", { class: "head tools" }, make("label", {}, "Model ", chooser), file, button("Load .onnx …", "Load an ONNX file of your own; choose its .data with it, if there is one", () => file.click()),
      make("small", {}, "trtlab's own rewriting"), button("Show NVIDIA's kernels", "What NVIDIA's builder makes of the same model, beside the end of these steps", () => send({ do: "nvidia" })),
      make("span", { class: "st-steps" }, first, back, slider, forward, last)),
    message,
    make("div", { class: "st-main" }, rules,
      make("div", { class: "st-view" }, make("div", { class: "st-head" }, title, what), counts, panels, legend)),
    about, refused, theirs,
    make("div", { class: "foot" }, ...keyHints([["← →", "step"], ["Home", "start"], ["End", "last step"]]),
      make("br"), "Bars: what is left of the start; the pale end goes in this step.", live));

  // --- what the reader asks for
  const send = (content, buffers) => {
    [busy, later] = [true, null];
    model.send(content, undefined, buffers);
  };
  const chosen = () => [...rules.querySelectorAll("input:checked")].map((box) => box.value);
  const choose = () => send({ do: "choose", model: chooser.value, rules: chosen() });
  function go(to) {
    const next = Math.min(Math.max(to, 0), count);
    if (next === wanted) return;
    wanted = next;
    steer();
    if (busy) later = next; // of the steps asked for meanwhile only the last counts
    else send({ do: "go", to: next });
  }
  async function upload(files) {
    const size = files.reduce((sum, one) => sum + one.size, 0), isModel = (one) => one.name.endsWith(".onnx");
    if (size > MOST_BYTES) { tell(`${files[0].name} has ${size} bytes; the page sends up to ${MOST_BYTES}. Use RewriteStepper("path of the file").`); return; }
    files.sort((one, other) => isModel(one) - isModel(other)); // the model comes last, when its weights are there
    if (!isModel(files.at(-1))) { tell(`${files[0].name}: choose the .onnx file, and with it, at once, the file of its weights.`); return; }
    for (const one of files) {
      const data = await one.arrayBuffer();
      for (let at = 0; at === 0 || at < data.byteLength; at += PIECE) {
        const piece = { do: "file", name: one.name, at, size: data.byteLength, rules: chosen() };
        send(piece, [data.slice(at, at + PIECE)]);
      }
    }
    file.value = ""; // the same file may be chosen again
  }

  // --- what Python says
  function tell(words) { message.textContent = words; message.hidden = !words; }
  function steer() {
    [slider.max, slider.value, slider.disabled] = [count, wanted, count === 0];
    slider.setAttribute("aria-valuetext", wanted ? `step ${wanted} of ${count}` : "start to end");
    for (const [end, buttons] of [[0, [first, back]], [count, [forward, last]]]) {
      for (const one of buttons) one.setAttribute("aria-disabled", wanted === end); // disabled, it would lose the focus
    }
    for (const chip of rules.querySelectorAll("[data-step]")) chip.setAttribute("aria-current", Number(chip.dataset.step) === wanted && "step");
  }
  function drawRules() {
    const run = model.get("run"), at = model.get("shown").position;
    count = run.count;
    chooser.replaceChildren(...model.get("models").map((name) => make("option", { value: name }, name)));
    chooser.value = run.model;
    rules.replaceChildren(...run.rules.map((rule) => {
      const box = make("input", { type: "checkbox", value: rule.name, "data-focus": rule.name, onchange: () => choose() });
      box.checked = rule.on;
      const from = Math.max(0, Math.min(rule.steps.indexOf(at) - CHIPS / 2, rule.steps.length - CHIPS));
      const chips = rule.steps.slice(from, from + CHIPS).map((n) => button(String(n), `Go to step ${n}: ${rule.title}`, () => go(n), { "data-step": n, "data-focus": `step ${n}`, class: "st-chip" }));
      const more = rule.steps.length - CHIPS;
      const none = rule.on ? (rule.steps.length ? null : make("small", {}, "no step")) : make("small", {}, "off");
      const left = rule.refused ? make("span", { class: "st-left" }, ` ${rule.refused} left alone.`) : null;
      return make("div", { class: `st-rule ${rule.steps.length ? "" : "st-idle"}`, "data-rule": rule.name },
        make("label", {}, box, make("b", {}, rule.title), make("small", {}, rule.meaning, left)),
        make("span", { class: `st-chips tools ${chips.length > 4 ? "st-many" : ""}` }, ...chips, more > 0 ? make("small", {}, `… ${more} more`) : null, none));
    }));
    if (told === run) return; // an opened list stays open from step to step
    refused.innerHTML = run.refusals;
    theirs.innerHTML = run.nvidia ?? "";
    if (run.nvidia) theirs.scrollIntoView({ block: "nearest" });
    [told, tall] = [run, 0];
  }
  function drawCounts(rows) {
    counts.replaceChildren(...rows.map(({ label, before, after, step, total, shares: [old, now] }) => make("div", {}, make("dt", {}, label),
      make("dd", {}, make("b", {}, before, make("i", {}, " → "), after), make("small", {}, step), make("small", {}, total),
        make("span", { class: "st-bar", "aria-hidden": "true" }, make("span", { style: `width:${Math.min(old, 100)}%` }), make("span", { style: `width:${Math.min(now, 100)}%` }))))));
  }
  function drawPanels(shown) {
    panels.replaceChildren(...shown.panels.flatMap((panel, number) => {
      const canvas = make("div", { class: "st-canvas", tabindex: "0", "data-focus": `panel ${number}`, role: "region", "aria-label": `${panel.head}: ${panel.caption}` }, drawn(panel.svg));
      const figure = make("figure", {}, make("figcaption", {}, make("b", {}, panel.head), ` ${panel.caption}`), canvas, panel.notice ? make("small", {}, panel.notice) : null);
      return number ? [make("div", { class: "st-arrow", "aria-hidden": "true" }, "→"), figure] : [figure];
    }));
    fit();
  }
  function fit() {
    const canvases = [...panels.querySelectorAll(".st-canvas")];
    if (!canvases.length || !canvases[0].clientWidth) return;
    const sizes = canvases.map((canvas) => canvas.firstChild.getAttribute("viewBox").split(" ").slice(2).map(Number));
    sizes.forEach(([w], n) => { // the wider drawing gets more room
      const share = Math.min(Math.max(w / (sizes[0][0] + sizes.at(-1)[0]), 0.37), 0.63);
      panels.style.setProperty(`--share-${n}`, `${share}fr`);
    });
    // as tall as the drawing in its own size, up to a screen's height, and never less than for a step before
    const needed = sizes.map(([w, h], n) => Math.min(1, (canvases[n].clientWidth - 4) / w) * h + 8);
    tall = Math.min(Math.max(tall, ...needed), TALLEST);
    panels.style.setProperty("--tall", `${Math.ceil(tall)}px`);
    const scale = Math.min(LARGEST, ...sizes.flatMap(([w, h], n) => [(canvases[n].clientWidth - 4) / w, (canvases[n].clientHeight - 4) / h]));
    const k = Math.max(SMALLEST, scale);
    canvases.forEach((canvas, n) => {
      const svg = canvas.firstChild;
      svg.setAttribute("width", Math.round(sizes[n][0] * k));
      svg.setAttribute("height", Math.round(sizes[n][1] * k));
      const marked = canvas.querySelector(".gv-marked");
      if (!marked) return;
      const box = marked.getBBox(); // in the drawing's own units
      canvas.scrollTop = (box.y + box.height / 2) * k - canvas.clientHeight / 2;
      canvas.scrollLeft = (box.x + box.width / 2) * k - canvas.clientWidth / 2;
    });
  }
  function draw() {
    const shown = model.get("shown"), focus = root.contains(document.activeElement) && document.activeElement.dataset.focus;
    tell(shown.message);
    drawRules();
    wanted = shown.position;
    title.textContent = shown.title;
    what.textContent = shown.what;
    drawCounts(shown.counts);
    drawPanels(shown);
    legend.replaceChildren(...shown.legend.map(([css, text]) => make("span", { class: `gv-chip ${css}` }, make("i"), text)));
    if (about.dataset.of !== shown.rule) about.innerHTML = shown.about;
    about.dataset.of = shown.rule;
    live.textContent = `${shown.title}. ${shown.what}. ${shown.counts.map((c) => `${c.label} ${c.before} to ${c.after}`).join(", ")}`;
    root.dataset.serial = shown.serial; // what the page now shows
    for (const row of rules.children) row.classList.toggle("st-now", row.dataset.rule === shown.rule);
    const now = rules.querySelector(".st-now");
    if (now && now.offsetTop + now.offsetHeight > rules.scrollTop + rules.clientHeight) rules.scrollTop = now.offsetTop;
    if (now && now.offsetTop < rules.scrollTop) rules.scrollTop = now.offsetTop;
    steer();
    if (focus) (root.querySelector(`[data-focus="${CSS.escape(focus)}"]`) ?? panels.querySelector(".st-canvas")).focus({ preventScroll: true });
    const next = later;
    [busy, later] = [false, null];
    if (next !== null) go(next);
  }

  root.addEventListener("keydown", (event) => {
    if (!isPlainKey(event) || event.target === chooser || event.target === slider) return; // they have arrows of their own
    const to = { ArrowLeft: wanted - 1, ArrowRight: wanted + 1, Home: 0, End: count }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    go(to);
  });
  el.append(root);
  draw();
  model.on("change:shown", draw);
  const watch = new ResizeObserver(fit);
  watch.observe(panels);
  return () => { watch.disconnect(); model.off("change:shown", draw); };
}
