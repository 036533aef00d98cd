// static/bits.js: bits to flip, entries to type in. Python (teach/bits.py) computes; here a flipped bit is repainted at
// once and everything else follows with the answer. Codes are BigInt and travel as hex, so 64 bits stay exact.
// In: model.get("face") (what the format fixes), model.get("shown") (what the code says). Out: wishes {code | value | hex
// | bin | dec | format | rounding | overflow: text}, one at a time; an answer that a later wish has overtaken is not drawn.

const SHORT = 640; // below this width a row holds 16 bits, else 32

const parts = (line) => line.map(([text, kind, raised]) => make(raised ? "sup" : "span", kind ? { class: `be-${kind} be-part` } : {}, text));

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

/** A small picture of a code: a bar for each bit, solid where it is 1. */
function miniature(fields, hex) {
  const digits = BigInt(hex || 0).toString(2).padStart(64, "0").slice(-fields.reduce((sum, [, width]) => sum + width, 0));
  let at = 0;
  const paths = fields.flatMap(([kind, width]) => {
    const bars = { 0: "", 1: "" };
    for (const end = at + width; at < end; at += 1) bars[digits[at]] += `M${4 * at} 0h3v9h-3z`;
    return [`<path class="be-${kind} be-off" d="${bars[0]}"/>`, `<path class="be-${kind}" d="${bars[1]}"/>`];
  });
  return drawn(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 256 9" preserveAspectRatio="none" class="be-mini" aria-hidden="true">${paths.join("")}</svg>`);
}

function render({ model, el }) {
  const me = Math.random().toString(36).slice(2), id = (name) => `be-${me}-${name}`;
  let face = null, shown = null, code = 0n, perRow = 32, brush = null, here = null;
  const bits = new Map();

  // --- the code -----------------------------------------------------------------------------------------------------
  const total = () => face.weights.length;
  const padding = () => (face.fields.at(-1)[0] === "padding" ? face.fields.at(-1)[1] : 0);
  const one = (place) => 1n << BigInt(place);
  const bitAt = (place) => (code & one(place) ? 1 : 0);
  const written = (number, place, value) => (value ? number | one(place) : number & ~one(place));
  const put = (place, value) => change(written(code, place, value));
  function change(next) {
    if (next === code || next < 0n || next >= one(total())) return;
    code = next;
    paint();
    const digits = code.toString(2).padStart(total(), "0");
    let at = 0;
    fill("hex", `0x${code.toString(16).padStart(Math.ceil(total() / 4), "0")}`);
    fill("bin", face.fields.map(([, width]) => digits.slice(at, (at += width))).join(" "));
    fill("dec", String(code));
    ask({ code: `0x${code.toString(16)}` });
  }
  const step = (by) => change(code + BigInt(by) * one(padding()));
  function paint() {
    for (const [place, bit] of bits) {
      bit.setAttribute("aria-checked", String(bitAt(place) === 1));
      bit.querySelector("b").textContent = bitAt(place);
    }
    minus.disabled = code === 0n;
    plus.disabled = code + one(padding()) >= one(total());
    for (const node of notables.children) node.setAttribute("aria-pressed", String(BigInt(node.dataset.code) === code));
  }

  // --- the bits -----------------------------------------------------------------------------------------------------
  const lift = () => { brush = null; }, readings = [];
  const strip = make("div", { class: "be-strip", role: "group", "aria-label": "Bits, the highest first", onpointerdown: grab, onpointermove: drag,
    onpointerup: lift, onpointercancel: lift, onclick: press, onkeydown: walk });
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
    return make("div", { class: `be-run be-${kind}` }, name, make("div", { class: "be-cells" }, ...places.map((place) => buildBit(place, kind, title))), reading);
  }
  function buildBit(place, kind, name) {
    const weight = face.weights[total() - 1 - place], label = `bit ${place}, ${name}`;
    const bit = make("button", { type: "button", class: "be-bit", role: "switch", tabindex: "-1", "aria-label": label, "data-bit": place,
      disabled: kind === "padding", title: weight ? `${label}, counts ${weight}` : `${label}, always 0` },
      make("small", { "aria-hidden": "true" }, String(place)), make("b"), make("i", { "aria-hidden": "true" }, weight));
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
  const placeOf = (target) => {
    const bit = target?.closest?.(".be-bit:enabled");
    return bit && strip.contains(bit) ? Number(bit.dataset.bit) : null;
  };
  function grab(event) {
    const place = placeOf(event.target);
    if (place === null || event.button !== 0) return;
    event.preventDefault(); // the notebook would take the focus
    brush = { value: !bitAt(place), last: place };
    strip.setPointerCapture(event.pointerId);
    goTo(place);
    put(place, brush.value);
  }
  function drag(event) {
    const place = brush && placeOf(document.elementFromPoint(event.clientX, event.clientY));
    if (place === null || place === brush.last) return;
    let next = code; // a fast hand skips bits
    for (const direction = Math.sign(place - brush.last); brush.last !== place;) {
      brush.last += direction;
      if (!bits.get(brush.last).disabled) next = written(next, brush.last, brush.value);
    }
    change(next);
  }
  function press(event) { // Space, Enter and assistive technology click without a pointer
    const place = placeOf(event.target);
    if (place !== null && event.detail === 0) put(place, !bitAt(place));
  }
  function walk(event) {
    const place = placeOf(event.target), low = padding(), top = total() - 1;
    if (place === null || event.ctrlKey || event.metaKey || event.altKey) return;
    const go = (next) => () => goTo(Math.max(low, Math.min(next, top)));
    const write = (value) => () => { put(place, value); go(place - 1)(); };
    const actions = { ArrowLeft: go(place + 1), ArrowRight: go(place - 1), Home: go(top), End: go(low), 0: write(false), 1: write(true),
      ArrowUp: () => goTo(place + perRow), ArrowDown: () => goTo(place - perRow), "+": () => step(1), "-": () => step(-1) };
    if (!actions[event.key]) return;
    event.preventDefault();
    actions[event.key]();
  }

  // --- the entries --------------------------------------------------------------------------------------------------
  const entries = {};
  function entry(name, label) {
    const typing = (is) => root.classList.toggle("be-typing", is);
    const input = make("input", { class: `be-entry be-in-${name}`, type: "text", "aria-label": label, spellcheck: "false", autocomplete: "off",
      autocapitalize: "off", "aria-describedby": id(name === "value" ? "said" : "codesaid"),
      oninput: () => { input.dataset.edited = "yes"; typing(true); ask({ [name]: input.value }); },
      onchange: () => typing(false),
      onblur: () => { delete input.dataset.edited; if (!input.value.trim()) draw(shown); },
      onkeydown: ({ key }) => {
        if (key === "Enter") typing(false);
        if (key === "Escape") { delete input.dataset.edited; draw({ ...shown, refusal: {} }); }
      } });
    entries[name] = input;
    return input;
  }
  function fill(name, text) {
    const input = entries[name], refused = shown.refusal.at === name;
    input.setAttribute("aria-invalid", String(refused));
    if (refused || (document.activeElement === input && input.dataset.edited)) return;
    if (input.value !== text) input.value = text;
  }
  function chooser(name, label, options = []) {
    const words = options.map((word) => make("option", { value: word }, word.replace("_", " ")));
    return make("select", { "aria-label": label, onchange: (event) => ask({ [name]: event.target.value }) }, ...words);
  }

  // --- the page -----------------------------------------------------------------------------------------------------
  const format = chooser("format", "Format"), rounding = chooser("rounding", "Rounding", model.get("face").roundings);
  const overflow = chooser("overflow", "Overflow", model.get("face").overflows);
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
  const notables = make("div", { class: "tools be-notables", role: "group", "aria-label": "Notable codes" });
  const line = make("div", { class: "be-line" }), all = make("div", { class: "be-all" });
  const table = make("tbody");
  let lines = [];
  const head = ["Format", "Code", "Bits", "Value", "Relative error", ""].map((word) => make("th", { scope: "col" }, word));
  const root = make("div", { class: "trt be", role: "group", "aria-label": "Bit editor", "data-lm-suppress-shortcuts": "true", onkeydown: isPlainKey },
    make("div", { class: "card" },
      make("div", { class: "head tools be-bar" }, format, summary, make("span", { class: "be-modes" }, labelled("round", rounding), labelled("overflow", overflow), copy)),
      make("div", { class: "be-top" },
        make("div", { class: "be-ask" }, labelled("you ask for", entry("value", "Value to encode")), said),
        make("div", { class: "be-arrow", "aria-hidden": "true" }, "→"),
        make("div", { class: "be-get" }, make("span", { class: "be-caption" }, "it stores ", kind), value, forms, decimal)),
      strip, formula,
      make("div", { class: "tools be-codes" }, minus, labelled("hex", entry("hex", "Code in hexadecimal")),
        labelled("binary", entry("bin", "Code in binary")),
        labelled("decimal", entry("dec", "Code in decimal")), plus),
      codeSaid, notables, line, all,
      make("div", { class: "quiet be-table" }, make("table", {}, make("caption", {}, "The same number in every format"), make("thead", {}, make("tr", {}, ...head)), table)),
      make("div", { class: "foot" }, "click or drag over bits · ",
        ...keyHints([["← →", "move"], ["Space", "flip"], ["0 1", "write"], ["+ −", "next code"]]))));

  function draw(answer) {
    shown = answer;
    code = BigInt(shown.code);
    if (face !== model.get("face")) drawFace();
    paint();
    for (const [name, text] of Object.entries({ hex: shown.code, bin: shown.bin, dec: shown.dec, value: shown.entry })) fill(name, text);
    [rounding.value, overflow.value] = [shown.rounding, shown.overflow];
    value.textContent = shown.value;
    kind.textContent = kind.dataset.kind = shown.kind;
    forms.replaceChildren(...shown.forms.map((form) => make("span", {}, form)));
    const [short, full] = shown.decimal, open = decimal.querySelector("details")?.open;
    decimal.replaceChildren(full ? make("details", { open }, make("summary", {}, short), full) : short === shown.value ? "" : `exactly ${short}`);
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
  function drawSaid() {
    const { refusal: { at, text }, error } = shown, isOff = error.kind !== "exact" && error.absolute !== "–";
    const facts = { "absolute error": error.absolute, "relative error": error.relative, "error in steps": `${error.steps} ${face.step}` };
    const offBy = Object.entries(facts).map(([label, fact]) => make("span", { title: label, "aria-label": `${label} ${fact}` }, fact));
    said.replaceChildren(make("b", { class: `be-verdict be-${error.kind}` }, error.words), ...(isOff ? [make("small", {}, "off by"), ...offBy] : []));
    for (const [node, isHere] of [[said, at === "value"], [codeSaid, at && at !== "value"]]) {
      node.classList.toggle("be-refused", Boolean(isHere));
      if (isHere) node.textContent = text;
      else if (node === codeSaid) node.textContent = "";
    }
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
    lines = face.layouts.map(([name, fields]) => {
      const [code, bits, number, relative] = ["be-mono", "", "be-mono", "be-mono be-num"].map((kind) => make("td", { class: kind }));
      const verdict = make("span"), choose = button(name, name, () => ask({ format: name }), { title: `edit in ${name}` });
      const row = make("tr", { class: name === face.name && "be-current" }, make("th", { scope: "row" }, choose), code, bits, number, relative, make("td", {}, verdict));
      return { fields, row, code, bits, number, relative, verdict };
    });
    table.replaceChildren(...lines.map((line) => line.row));
  }
  function drawTable() {
    shown.rows.forEach(([, hex, number, relative, how, words], i) => {
      const line = lines[i];
      if (line.hex !== hex) line.bits.replaceChildren(miniature(line.fields, line.hex = hex));
      [line.code.textContent, line.number.textContent, line.relative.textContent, line.verdict.textContent] = [hex, number, relative, words];
      line.verdict.className = `be-verdict be-${how}`;
    });
  }

  // --- life ---------------------------------------------------------------------------------------------------------
  el.append(root);
  draw(model.get("shown"));
  const receive = () => { if (!isBehind() && shown !== model.get("shown")) draw(model.get("shown")); };
  for (const answer of ["change:shown", "msg:custom"]) model.on(answer, receive); // before the next wish goes out
  const { ask, isBehind, end } = inTurn(model, (later, wish) => {
    for (const what of Object.keys(wish)) delete later?.[what]; // said again, it is said last
    return { ...later, ...wish };
  });
  const watch = new ResizeObserver(() => {
    const fits = root.clientWidth && root.clientWidth < SHORT ? 16 : 32;
    if (fits === perRow) return;
    perRow = fits;
    build();
    draw(shown);
  });
  watch.observe(root);
  return () => { watch.disconnect(); end(); model.off("change:shown", receive); model.off("msg:custom", receive); };
}
