// static/streamview.js: sliders above a timeline. Python (teach/streams.py) predicts and draws; this only shows it.
// In: model.get("face") ([name, label, least, most] of each slider), model.get("shown") (picture, facts, setting).
// Out: messages {name: value}, one at a time: the next is sent when the answer to the last is here.

function render({ model, el }) {
  const sliders = {}, values = {};
  let asked = null, busy = false;
  const ask = (name) => {
    asked = { ...asked, [name]: Number(sliders[name].value) };
    values[name].textContent = sliders[name].value;
    if (!busy) send();
  };
  const send = () => {
    busy = true;
    model.send(asked);
    asked = null;
  };
  const rows = model.get("face").map(([name, label, least, most]) => {
    values[name] = make("output", {});
    sliders[name] = make("input", { type: "range", min: least, max: most, "aria-label": label, oninput: () => ask(name) });
    return make("label", { class: "tl-slider" }, make("span", {}, label), sliders[name], values[name]);
  });
  const canvas = make("div", { class: "timeline" }), facts = make("div", { class: "grid", "aria-live": "polite" });
  const root = make("div", { class: "trt tl", role: "group", "aria-label": "Streams", "data-lm-suppress-shortcuts": "true" },
    make("div", { class: "card" }, make("div", { class: "tl-sliders" }, ...rows), canvas, make("div", { class: "body" }, facts)));
  root.addEventListener("keydown", isPlainKey);

  function draw() {
    const { svg, facts: found, setting } = model.get("shown");
    if (asked) return; // a slider was moved meanwhile; its answer is drawn
    for (const [name, value] of Object.entries(setting)) [sliders[name].value, values[name].textContent] = [value, value];
    canvas.replaceChildren(drawn(svg));
    facts.replaceChildren(...found.map(([label, value, note]) =>
      make("div", { class: "box fact" }, make("small", {}, label), make("b", {}, value), make("span", { class: "dim" }, note))));
    root.dataset.setting = Object.values(setting).join(" ");
  }
  function answer() { // also to what changes nothing
    busy = false;
    if (asked) send();
  }
  el.append(root);
  draw();
  model.on("change:shown", draw);
  model.on("msg:custom", answer);
  return () => { model.off("change:shown", draw); model.off("msg:custom", answer); };
}

export default { render: answered(render) };
