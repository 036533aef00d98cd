// static/quantview.js: shows a quantised tensor and sends choices. Python (teach/quantview.py) quantises and draws.
// In: model.get("face") (what may be chosen), model.get("shown") (what was, its picture and numbers). Out: messages
// {tensor | format | granularity | zoom: value}. Texts become text nodes; the picture is parsed as SVG, never as HTML.

const WORDS = { tensor: "tensor", channel: "row" };
const HEAD = 54; // the picture's own headline, which the page says in its bar

function picture(source) {
  const svg = drawn(source);
  const [, , width, height] = svg.getAttribute("viewBox").split(" ").map(Number);
  svg.setAttribute("viewBox", `0 ${HEAD} ${width} ${height - HEAD - 20}`);
  for (const name of ["width", "height"]) svg.removeAttribute(name);
  return svg;
}

function render({ model, el }) {
  let svg = null;
  const group = Math.random().toString(36).slice(2); // every widget loads a module of its own, so no counter
  const select = (name) => make("select", { "data-of": name, "aria-label": name, onchange: (event) => model.send({ [name]: event.target.value }) });
  const grain = (name) => make("label", {}, make("input", { type: "radio", name: group, value: name, onchange: () => model.send({ granularity: name }) }), make("span", {}, WORDS[name] ?? name));
  const tensor = select("tensor"), format = select("format");
  const grains = make("fieldset", { class: "qv-grains" }, make("legend", { class: "unseen" }, "One scale per"),
    make("span", { class: "qv-word", "aria-hidden": "true" }, "a scale per"), ...model.get("face").granularities.map(grain));
  const zoom = make("input", { type: "checkbox", onchange: () => model.send({ zoom: zoom.checked }) });
  const fixed = make("span", { class: "qv-fixed" }), canvas = make("div", { class: "qv-canvas" }), facts = make("div", { class: "qv-facts" });
  const refusal = make("div", { class: "why bad", role: "alert", hidden: true }), about = make("span"), trials = make("tbody");
  const live = make("span", { class: "unseen", "aria-live": "polite" });
  const head = ["tensor", "format", "scales", "SQNR", "bits per value"].map((word) => make("th", { scope: "col" }, word));
  const root = make("div", { class: "trt qv", role: "group", "aria-label": "Quantisation view", "data-lm-suppress-shortcuts": "true", onkeydown: isPlainKey },
    make("div", { class: "card" },
      make("div", { class: "head tools qv-bar" }, labelled("tensor", tensor), labelled("format", format), grains, fixed,
        make("label", { class: "qv-zoom" }, zoom, make("span", {}, "zoom in"))),
      refusal, facts, canvas,
      make("div", { class: "quiet qv-tried" }, make("table", {}, make("caption", {}, "Your last choices"), make("thead", {}, make("tr", {}, ...head)), trials)),
      make("div", { class: "foot" }, about, live)));

  function options(node, names) {
    if (node.options.length !== names.length) node.replaceChildren(...names.map((name) => make("option", { value: name }, name)));
  }
  function draw() {
    const face = model.get("face"), shown = model.get("shown");
    options(tensor, face.tensors);
    options(format, face.formats);
    [tensor.value, format.value, zoom.checked] = [shown.tensor, shown.format, shown.zoom];
    grains.hidden = grains.disabled = shown.fixed;
    for (const input of grains.querySelectorAll("input")) input.checked = input.value === shown.granularity;
    fixed.textContent = shown.fixed ? shown.shared : "";
    [refusal.textContent, refusal.hidden] = [shown.refusal, !shown.refusal];
    if (svg !== shown.svg) canvas.replaceChildren(picture(svg = shown.svg));
    facts.replaceChildren(...factBoxes(shown.facts));
    trials.replaceChildren(...shown.trials.map((row, i) => make("tr", { class: i === 0 && "qv-now" }, ...row.map((text) => make("td", {}, text)))));
    about.textContent = shown.about;
    live.textContent = `${shown.title}: ${shown.facts.map(([label, value]) => `${label} ${value}`).join(", ")}`;
    root.dataset.title = shown.title; // what the page now explains
  }
  el.append(root);
  draw();
  model.on("change:shown", draw);
  return () => model.off("change:shown", draw);
}
