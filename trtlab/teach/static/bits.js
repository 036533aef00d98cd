// static/bits.js: bits to flip, entries to type in. Python (teach/bits.py) computes; here a flipped bit is repainted at
// once and everything else follows with the answer. Codes are BigInt and travel as hex, so 64 bits stay exact.
// In: model.get("face") (what the format fixes), model.get("shown") (what the code says). Out: one message per change,
// numbered; while one is on its way, further flips are gathered, and answers that are not to the last one are dropped.

const SHORT = 640; // below this width a row holds 16 bits, else 32
const SLOW_MS = 400, PATIENCE_MS = 3000;
let editors = 0;

const describeBit = (place, kind) => `bit ${place}, ${kind}`;

/** The fields as runs of bits that fit into rows: [[{kind, bits: [31], first, last, width}]]. */
function rowsOf(fields, perRow) {
  const total = fields.reduce((sum, [, width]) => sum + width, 0), rows = [];
  let place = total;
  fields.forEach(([kind, width], index) => {
    for (let left = width; left > 0;) {
      const used = (total - place) % perRow, count = Math.min(left, perRow - used);
      if (used === 0) rows.push([]);
      const bits = Array.from({ length: count }, (_, i) => place - 1 - i);
      rows.at(-1).push({ kind, index, width, bits, first: left === width, last: left === count });
      place -= count;
      left -= count;
    }
  });
  return rows;
}

/** A small picture of a code: a square for each bit, solid where it is 1. `show(hex)` repaints it. */
function miniature(fields) {
  const space = "http://www.w3.org/2000/svg", svg = document.createElementNS(space, "svg");
  const total = fields.reduce((sum, [, width]) => sum + width, 0), paths = [];
  for (const [name, value] of [["viewBox", "0 0 256 9"], ["preserveAspectRatio", "none"], ["class", "be-mini"], ["aria-hidden", "true"]]) svg.setAttribute(name, value);
  let at = 0;
  for (const [kind, width] of fields) {
    const places = Array.from({ length: width }, () => at++), pair = ["be-off", "be-on"].map((name) => {
      const path = document.createElementNS(space, "path");
      path.setAttribute("class", `be-${kind} ${name}`);
      return path;
    });
    svg.append(...pair);
    paths.push([places, pair]);
  }
  const show = (hex) => {
    const digits = BigInt(hex || 0).toString(2).padStart(total, "0");
    for (const [places, pair] of paths) pair.forEach((path, on) => path.setAttribute("d", places.filter((i) => Number(digits[i]) === on).map((i) => `M${i * 4} 0h3v9h-3z`).join("")));
  };
  return { svg, show };
}

/** Text is written only where it differs, so that the page has little to lay out. */
function write(node, text) { if (node.textContent !== text) node.textContent = text; }

const parts = (line) => line.map(([text, kind, raised]) => make(raised ? "sup" : "span", kind ? { class: `be-${kind} be-part` } : {}, text));

function render({ model, el }) {
  const me = `${Date.now()}-${++editors}`, id = (name) => `be-${me}-${name}`;
  let face = null, shown = null, code = 0n, perRow = 32;
  let serial = 0, waiting = false, gathered = false, slow = 0, brush = null, here = null;
  const bits = new Map();

  // --- messages -----------------------------------------------------------------------------------------------------
  function send(message) {
    gathered = false;
    waiting = true;
    clearTimeout(slow);
    slow = setTimeout(unanswered, SLOW_MS, PATIENCE_MS - SLOW_MS);
    try { model.send({ ...message, answers: [me, ++serial] }); } catch { unanswered(0); } // no kernel to send to
  }
  /** What is shown is no longer true of the bits: paler at once, and said in words if it stays so. */
  function unanswered(patience) {
    clearTimeout(slow);
    root.classList.add("be-slow");
    if (patience) slow = setTimeout(unanswered, patience, 0);
    else lost.textContent = "No answer from Python: the value below is not that of these bits. Another cell may be running. If the kernel was restarted, run this cell again.";
  }
  const sendCode = () => { if (waiting) gathered = true; else send({ do: "code", code: hex() }); };
  function receive() {
    const answer = model.get("shown"), [to, number] = answer.answers;
    if (to === me) {
      if (number < serial) return;
      waiting = false;
      if (gathered) return sendCode();
    }
    clearTimeout(slow);
    lost.textContent = "";
    root.classList.remove("be-slow");
    draw(answer);
  }

  // --- the code -----------------------------------------------------------------------------------------------------
  const total = () => face.weights.length;
  const padding = () => (face.fields.at(-1)[0] === "padding" ? face.fields.at(-1)[1] : 0);
  const hex = () => `0x${code.toString(16).padStart(Math.ceil(total() / 4), "0")}`;
  const bitAt = (place) => (code >> BigInt(place)) & 1n;
  function change(next) {
    if (next === code) return;
    code = next;
    paint();
    entries.hex.value = hex();
    entries.dec.value = String(code);
    entries.bin.value = grouped();
    sendCode();
  }
  const put = (place, value) => change(value ? code | (1n << BigInt(place)) : code & ~(1n << BigInt(place)));
  function step(by) {
    const next = code + (BigInt(by) << BigInt(padding()));
    if (next >= 0n && next < 1n << BigInt(total())) change(next);
  }
  function grouped() {
    const digits = code.toString(2).padStart(total(), "0");
    let at = 0;
    return face.fields.map(([, width]) => digits.slice(at, (at += width))).join(" ");
  }
  function paint() {
    for (const [place, bit] of bits) {
      const on = String(bitAt(place) === 1n);
      if (bit.getAttribute("aria-checked") === on) continue;
      bit.setAttribute("aria-checked", on);
      bit.querySelector("b").textContent = on === "true" ? "1" : "0";
    }
    minus.disabled = code === 0n;
    plus.disabled = code + (1n << BigInt(padding())) >= 1n << BigInt(total());
    for (const node of notables.children) node.setAttribute("aria-pressed", String(BigInt(node.dataset.code) === code));
  }

  // --- the bits -----------------------------------------------------------------------------------------------------
  const strip = make("div", { class: "be-strip", role: "group", "aria-label": "Bits, the highest first" });
  const readings = [];
  function build() {
    strip.replaceChildren();
    bits.clear();
    readings.length = 0;
    const rows = rowsOf(face.fields, perRow);
    strip.style.setProperty("--n", Math.max(...rows.map((row) => row.reduce((sum, run) => sum + run.bits.length, 0))));
    strip.style.setProperty("--gaps", Math.max(...rows.map((row) => row.length - 1)));
    strip.classList.toggle("be-wide", total() <= 16);
    rows.forEach((row) => strip.append(make("div", { class: "be-row" }, ...row.map(buildRun))));
    if (!bits.has(here) || bits.get(here).disabled) here = total() - 1;
    bits.get(here).tabIndex = 0;
  }
  function buildRun({ kind, index, width, bits: places, first, last }) {
    const long = places.length > 3 && width > 1, title = face.names[index];
    const name = make("div", { class: "be-name" }, first ? (long ? `${title} · ${width} bits` : title) : `${title}, continued`);
    const reading = make("div", { class: "be-reading" });
    if (last) readings[index] = reading;
    const cells = make("div", { class: "be-cells" }, ...places.map((place) => buildBit(place, kind, title)));
    return make("div", { class: `be-run be-${kind}` }, name, cells, reading);
  }
  function buildBit(place, kind, name) {
    const weight = face.weights[total() - 1 - place];
    const bit = make("button", { type: "button", class: "be-bit", role: "switch", "aria-checked": "false", tabindex: "-1",
      "aria-label": describeBit(place, name), "data-bit": place, disabled: kind === "padding",
      title: weight ? `${describeBit(place, name)}, counts ${weight}` : `${describeBit(place, name)}, always 0` },
      make("small", { "aria-hidden": "true" }, String(place)), make("b", {}, "0"), make("i", { "aria-hidden": "true" }, weight));
    bits.set(place, bit);
    return bit;
  }
  function goTo(place) {
    const bit = bits.get(place);
    if (!bit || bit.disabled) return;
    bits.get(here).tabIndex = -1;
    here = place;
    bit.tabIndex = 0;
    bit.focus({ preventScroll: true });
  }
  const placeOf = (target) => { const bit = target?.closest?.(".be-bit"); return bit && strip.contains(bit) && !bit.disabled ? Number(bit.dataset.bit) : null; };
  strip.addEventListener("pointerdown", (event) => {
    const place = placeOf(event.target);
    if (place === null || event.button !== 0) return;
    event.preventDefault(); // the notebook would take the focus
    brush = { value: bitAt(place) === 0n, last: place };
    strip.setPointerCapture(event.pointerId);
    goTo(place);
    put(place, brush.value);
  });
  strip.addEventListener("pointermove", (event) => {
    if (!brush) return;
    const place = placeOf(document.elementFromPoint(event.clientX, event.clientY));
    if (place === null || place === brush.last) return;
    const direction = Math.sign(place - brush.last);
    let next = code; // a fast hand skips bits
    for (let p = brush.last + direction; p !== place + direction; p += direction) {
      if (!bits.get(p).disabled) next = brush.value ? next | (1n << BigInt(p)) : next & ~(1n << BigInt(p));
    }
    brush.last = place;
    change(next);
  });
  for (const end of ["pointerup", "pointercancel"]) strip.addEventListener(end, () => { brush = null; });
  strip.addEventListener("click", (event) => { // Space, Enter and assistive technology click without a pointer
    const place = placeOf(event.target);
    if (place !== null && event.detail === 0) put(place, bitAt(place) === 0n);
  });
  strip.addEventListener("keydown", (event) => {
    const place = placeOf(event.target);
    if (place === null || event.ctrlKey || event.metaKey || event.altKey) return;
    const low = padding(), top = total() - 1;
    const actions = { ArrowLeft: () => goTo(Math.min(place + 1, top)), ArrowRight: () => goTo(Math.max(place - 1, low)),
      ArrowUp: () => goTo(place + perRow), ArrowDown: () => goTo(place - perRow), Home: () => goTo(top), End: () => goTo(low),
      "+": () => step(1), "-": () => step(-1),
      0: () => { put(place, false); goTo(Math.max(place - 1, low)); }, 1: () => { put(place, true); goTo(Math.max(place - 1, low)); } };
    if (!actions[event.key]) return;
    event.preventDefault();
    actions[event.key]();
  });

  // --- the entries --------------------------------------------------------------------------------------------------
  const entries = {};
  function entry(name, label, message) {
    const input = make("input", { class: `be-entry be-in-${name}`, type: "text", "aria-label": label, spellcheck: "false", autocomplete: "off",
      autocapitalize: "off", "aria-describedby": id(name === "value" ? "said" : "codesaid") });
    const commit = () => { input.dataset.sent = input.value; send({ ...message, text: input.value }); };
    input.addEventListener("input", () => { input.dataset.edited = "yes"; root.classList.add("be-typing"); commit(); });
    input.addEventListener("change", () => { root.classList.remove("be-typing"); if (input.dataset.edited && input.dataset.sent !== input.value) commit(); });
    input.addEventListener("blur", () => { delete input.dataset.edited; if (!input.value.trim()) draw(shown); });
    input.addEventListener("keydown", (event) => {
      if (event.key === "Enter") { root.classList.remove("be-typing"); commit(); }
      if (event.key === "Escape") { delete input.dataset.edited; shown.refusal = {}; send({ do: "code", code: hex() }); }
    });
    entries[name] = input;
    return input;
  }
  function fill(name, text) {
    const input = entries[name], refused = shown.refusal.at === name;
    input.setAttribute("aria-invalid", String(refused));
    if (refused || (document.activeElement === input && input.dataset.edited)) return;
    if (input.value !== text) input.value = text;
  }
  function chooser(label, choose, options = []) {
    const select = make("select", { "aria-label": label, onchange: () => choose() }, ...options.map((word) => make("option", { value: word }, word.replace("_", " "))));
    return select;
  }

  // --- the page -----------------------------------------------------------------------------------------------------
  const sendModes = () => send({ do: "modes", rounding: rounding.value, overflow: overflow.value });
  const format = chooser("Format", () => send({ do: "format", name: format.value }));
  const rounding = chooser("Rounding", sendModes, model.get("face").roundings);
  const overflow = chooser("Overflow", sendModes, model.get("face").overflows);
  const summary = make("span", { class: "be-summary" });
  const value = make("output", { class: "be-result", "aria-label": "Value" }), kind = make("span", { class: "be-kind" });
  const forms = make("div", { class: "be-forms" }), decimal = make("div", { class: "be-decimal" });
  const said = make("div", { class: "be-said", id: id("said"), "aria-live": "polite" });
  const codeSaid = make("div", { class: "be-said", id: id("codesaid"), "aria-live": "polite" });
  const formula = make("div", { class: "be-formula", role: "group", "aria-label": "Formula" });
  const call = () => `BitEditor(${JSON.stringify(face.name)}, ${JSON.stringify(shown.entry)})`;
  const copy = button("copy", "Copy this value in this format as a call of BitEditor", async () => {
    try { await navigator.clipboard.writeText(call()); copy.textContent = "copied"; } catch { copy.textContent = call(); } // no leave: to be copied by hand
    setTimeout(() => { copy.textContent = "copy"; }, copy.textContent === "copied" ? 1500 : 8000);
  }, { class: "be-copy" });
  const minus = button("−1", "Previous code", () => step(-1));
  const plus = button("+1", "Next code", () => step(1));
  const notables = make("div", { class: "be-notables", role: "group", "aria-label": "Notable codes" });
  const line = make("div", { class: "be-line" }), all = make("div", { class: "be-all" });
  const table = make("tbody"), lines = [];
  const head = ["Format", "Code", "Bits", "Value", "Relative error", ""].map((word) => make("th", { scope: "col" }, word));
  const lost = make("div", { class: "be-lost-kernel", role: "status", "aria-live": "polite" });
  const root = make("div", { class: "trt be", role: "group", "aria-label": "Bit editor", "data-lm-suppress-shortcuts": "true" },
    make("div", { class: "be-card" },
      make("div", { class: "be-bar" }, format, summary, make("span", { class: "be-modes" }, labelled("round", rounding), labelled("overflow", overflow), copy)),
      make("div", { class: "be-top" },
        make("div", { class: "be-ask" }, labelled("you ask for", entry("value", "Value to encode", { do: "value" })), said),
        make("div", { class: "be-arrow", "aria-hidden": "true" }, "→"),
        make("div", { class: "be-get" }, make("span", { class: "be-caption" }, "it stores ", kind), value, forms, decimal)),
      strip, formula,
      make("div", { class: "be-codes" }, minus, labelled("hex", entry("hex", "Code in hexadecimal", { do: "text", base: "hex" })),
        labelled("binary", entry("bin", "Code in binary", { do: "text", base: "bin" })),
        labelled("decimal", entry("dec", "Code in decimal", { do: "text", base: "dec" })), plus),
      codeSaid, notables, line, all,
      make("div", { class: "be-table" }, make("table", {}, make("caption", {}, "The same number in every format"), make("thead", {}, make("tr", {}, ...head)), table)),
      make("div", { class: "be-foot" }, "click or drag over bits · ",
        ...keyHints([["← →", "move"], ["Space", "flip"], ["0 1", "write"], ["+ −", "next code"]]))));
  root.addEventListener("keydown", isPlainKey);

  function draw(answer) {
    shown = answer;
    code = BigInt(shown.code);
    if (face !== model.get("face")) drawFace();
    paint();
    for (const name of ["hex", "bin", "dec"]) fill(name, { hex: shown.code, bin: shown.bin, dec: shown.dec }[name]);
    fill("value", shown.entry);
    [rounding.value, overflow.value] = [shown.rounding, shown.overflow];
    value.textContent = shown.value;
    kind.textContent = kind.dataset.kind = shown.kind;
    forms.replaceChildren(...shown.forms.map((form) => make("span", {}, form)));
    drawDecimal();
    readings.forEach((node, i) => { node.textContent = shown.readings[i]; });
    formula.replaceChildren(...shown.formula.map((one) => make("div", {}, ...parts(one))));
    drawSaid();
    drawLine();
    drawAll();
    drawTable();
    root.dataset.code = shown.code; // what the page now explains
  }
  function drawFace() {
    face = model.get("face");
    format.replaceChildren(...face.layouts.map(([name]) => make("option", { value: name }, name)));
    format.value = face.name;
    summary.textContent = face.summary;
    build();
    buildTable();
    notables.replaceChildren(...face.notable.map(([label, text]) => button(label, text, () => change(BigInt(text)), { "data-code": text, "aria-label": label })));
  }
  function drawDecimal() {
    const [short, full] = shown.decimal, repeats = short === shown.value;
    const open = decimal.querySelector("details")?.open;
    decimal.replaceChildren(full ? make("details", { open }, make("summary", {}, short), full) : repeats ? "" : `exactly ${short}`);
  }
  function drawSaid() {
    const { refusal, error } = shown, exact = error.kind === "exact";
    said.classList.toggle("be-refused", "text" in refusal && refusal.at === "value");
    codeSaid.textContent = refusal.at && refusal.at !== "value" ? refusal.text : "";
    codeSaid.classList.toggle("be-refused", codeSaid.textContent !== "");
    if (refusal.at === "value") return said.replaceChildren(refusal.text);
    const facts = { "absolute error": error.absolute, "relative error": error.relative, "error in steps": `${error.steps} ${face.step}` };
    said.replaceChildren(make("b", { class: `be-verdict be-${error.kind}` }, error.words), ...(exact || error.absolute === "–" ? []
      : [make("small", {}, "off by"), ...Object.entries(facts).map(([label, text]) => make("span", { title: label, "aria-label": `${label} ${text}` }, text))]));
  }
  function drawLine() {
    const { below, above, here: at, target, ulp } = shown.around;
    line.hidden = at === null;
    if (at === null) return;
    const left = (place) => `left:${18 + 64 * place}%`;
    const mark = (neighbour, place, side) => (neighbour
      ? button("", `${side} neighbour ${neighbour.value}`, () => change(BigInt(neighbour.code)), { class: "be-mark", style: left(place), title: `go to ${neighbour.code}` })
      : make("span", { class: "be-mark be-none", style: left(place) }));
    const marks = [mark(below, 0, "lower"), make("span", { class: "be-mark be-here", style: left(at) }), mark(above, 1, "upper")];
    [below?.value ?? "nothing below", shown.around.short, above?.value ?? "nothing above"].forEach((text, i) => marks[i].append(make("b", {}, text)));
    line.replaceChildren(make("div", { class: "be-axis" }), ...marks,
      make("span", { class: "be-ulp", style: `left:${18 + 64 * at}%;width:${64 * (1 - at)}%` }, `${face.step} ${ulp}`),
      ...(target === null ? [] : [make("span", { class: "be-target", style: left(target), title: shown.error.target }, "▼")]));
  }
  function drawAll() {
    const places = face.line, few = places.length <= 16;
    all.hidden = !places.length;
    if (all.hidden) return;
    if (all.dataset.of !== face.name) {
      all.dataset.of = face.name;
      const ends = places.filter(([, place, text]) => few || place === 0 || place === 1 || text === "0");
      const seen = new Map(ends.map((one) => [one[2], one]));
      all.replaceChildren(make("span", { class: "be-caption" }, `all ${places.length} finite values of ${face.name}`), ...places.map(([text, place]) => make("i", { style: `left:${100 * place}%`, "data-code": text })),
        ...[...seen.values()].map(([, place, text]) => make("small", { style: `left:${100 * place}%` }, text)));
    }
    for (const tick of all.querySelectorAll("i")) tick.classList.toggle("be-now", BigInt(tick.dataset.code) === code);
  }
  all.addEventListener("click", (event) => {
    const { left, width } = all.getBoundingClientRect(), x = (event.clientX - left) / width;
    const nearest = face.line.reduce((a, b) => (Math.abs(b[1] - x) < Math.abs(a[1] - x) ? b : a));
    change(BigInt(nearest[0]));
  });
  function buildTable() {
    lines.length = 0;
    for (const [name, fields] of face.layouts) {
      const mini = miniature(fields), cell = (kind) => make("td", { class: kind });
      const line = { mini, code: cell("be-mono"), number: cell("be-mono"), relative: cell("be-mono be-num"), verdict: make("span") };
      line.row = make("tr", { class: name === face.name && "be-current" },
        make("th", { scope: "row" }, button(name, name, () => send({ do: "format", name }), { title: `edit in ${name}` })),
        line.code, make("td", {}, mini.svg), line.number, line.relative, make("td", {}, line.verdict));
      lines.push(line);
    }
    table.replaceChildren(...lines.map((line) => line.row));
  }
  function drawTable() {
    shown.rows.forEach(([, text, number, relative, how, words], i) => {
      const line = lines[i];
      if (line.hex !== text) line.mini.show(line.hex = text);
      write(line.code, text);
      write(line.number, number);
      write(line.relative, relative);
      write(line.verdict, words);
      line.verdict.className = `be-verdict be-${how}`;
    });
  }

  // --- life ---------------------------------------------------------------------------------------------------------
  root.prepend(lost);
  el.append(root);
  draw(model.get("shown"));
  model.on("change:shown", receive);
  const watch = new ResizeObserver(() => {
    const fits = root.clientWidth && root.clientWidth < SHORT ? 16 : 32;
    if (fits === perRow) return;
    perRow = fits;
    build();
    draw(shown);
  });
  watch.observe(root);
  return () => { watch.disconnect(); clearTimeout(slow); model.off("change:shown", receive); };
}

export default { render: answered(render) };
