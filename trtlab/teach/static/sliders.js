// static/sliders.js: sliders and buttons above a picture. Python (teach/sliders.py) computes and draws; this only shows it.
// In: model.get("face") {about, sliders: [name, label, least, most], powers: names of exponents of two, buttons: names, hand: null or {name, from, to}},
// model.get("shown") {svg, facts, setting}. Out: messages {name: value} or {press: name}, one at a time: the next is sent
// when the answer to the last is here. A slider without a label is not shown: buttons set it. `hand`: dragging in the
// picture from x `from` to x `to` moves that slider.

function render({ model, el }) {
  const { about, sliders: rows, powers, buttons, hand } = model.get("face"), sliders = {}, values = {};
  const { ask, isBehind, end } = inTurn(model, (all, wish) => ({ ...all, ...wish }));
  const place = (name, value) => {
    const said = (powers.includes(name) ? 2 ** value : Number(value)).toLocaleString("en");
    sliders[name].value = value;
    sliders[name].setAttribute("aria-valuetext", values[name].textContent = said);
  };
  const move = (name, value) => {
    place(name, value);
    ask({ [name]: Number(sliders[name].value) });
  };
  const labels = rows.filter(([, label]) => label).map(([name, label, least, most]) => {
    values[name] = make("output", {});
    sliders[name] = make("input", { type: "range", min: least, max: most, "aria-label": label,
      oninput: () => move(name, sliders[name].value) });
    return make("label", { class: "tl-slider" }, make("span", {}, label), sliders[name], values[name]);
  });
  const presses = buttons.map((name) => button(name, name, () => ask({ press: name }), { "data-press": name }));
  const canvas = make("div", { class: "timeline" }), facts = make("div", { class: "grid", "aria-live": "polite" });
  const bar = presses.length ? make("div", { class: "head tools" }, ...presses) : null;
  const root = make("div", { class: "trt tl", role: "group", "aria-label": about, "data-lm-suppress-shortcuts": "true", onkeydown: isPlainKey },
    make("div", { class: "card" }, make("div", { class: "tl-sliders" }, ...labels), bar, canvas,
      make("div", { class: "body" }, facts)));

  const bringIntoView = () => { // where the picture is wider than its cell; not under a hand that drags
    if (!hand || canvas.scrollWidth <= canvas.clientWidth || canvas.matches(":active")) return;
    const { value, min, max } = sliders[hand.name], svg = canvas.querySelector("svg"), part = (value - min) / (max - min);
    const x = (hand.from + part * (hand.to - hand.from)) * svg.clientWidth / svg.viewBox.baseVal.width;
    canvas.scrollLeft = x - canvas.clientWidth / 2;
  };
  const watch = new ResizeObserver(bringIntoView);
  watch.observe(canvas);

  function follow(event) { // the pointer's place in the picture, as a value of the slider `hand`
    const svg = canvas.querySelector("svg"), box = svg.getBoundingClientRect(), slider = sliders[hand.name];
    const x = (event.clientX - box.left) * svg.viewBox.baseVal.width / box.width;
    const part = Math.min(1, Math.max(0, (x - hand.from) / (hand.to - hand.from)));
    move(hand.name, Math.round(Number(slider.min) + part * (slider.max - slider.min)));
  }
  if (hand) {
    canvas.classList.add("tl-hand");
    canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); follow(event); });
    canvas.addEventListener("pointermove", (event) => { if (canvas.hasPointerCapture(event.pointerId)) follow(event); });
  }

  function draw() {
    const { svg, facts: found, setting } = model.get("shown");
    if (isBehind()) return; // a slider was moved meanwhile; its answer is drawn
    for (const [name, value] of Object.entries(setting)) {
      if (sliders[name]) place(name, value);
    }
    for (const each of presses) each.setAttribute("aria-pressed", String(each.dataset.press === setting.pressed));
    canvas.replaceChildren(drawn(svg));
    facts.replaceChildren(...factBoxes(found));
    bringIntoView();
    root.dataset.setting = rows.map(([name]) => setting[name]).join(" ");
  }
  el.append(root);
  draw();
  model.on("change:shown", draw);
  return () => { watch.disconnect(); end(); model.off("change:shown", draw); };
}
