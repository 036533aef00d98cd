// Renders PipelineView (teach/pipeline.py). All state lives in Python; `detail` and `message` are markup that Python
// made and escaped; everything else is set as text.

const ICONS = { done: "✓", stood: "≈", not: "–", failed: "!", cancelled: "×", running: "…" };
const WORDS = { stood: "ONNX Runtime stood in", not: "not possible here" };
const LABELS = { model: "Model", precision: "Precision", target: "Target", dynamic: "Batch" };

function chooser(model, name, label) {
  const values = model.get("options")[name];
  const options = values.map(([, text], index) => make("option", { value: index }, text));
  const change = () => model.change("choice", { ...model.get("choice"), [name]: values[select.value][0] });
  const select = make("select", { "data-choice": name, "aria-label": label, onchange: change }, ...options);
  const show = () => { select.value = values.findIndex(([key]) => key === model.get("choice")[name]); };
  model.on("change:choice", show);
  show();
  return select;
}

function render({ model, el }) {
  const selects = Object.entries(LABELS).map(([name, label]) => chooser(model, name, label));
  // The choice goes along: a busy kernel may get a saved choice later than a message.
  const press = () => model.send(model.get("running") ? { what: "cancel" } : { what: "run", choice: model.get("choice") });
  const go = make("button", { class: "go", type: "button", onclick: press });
  const names = model.get("stages").map((stage) => stage.name);
  const items = names.map((name, index) => make("li",
    { role: "option", "data-stage": name, onclick: () => select(index), onkeydown: (event) => steer(event, index) },
    make("span", { class: "icon", "aria-hidden": "true" }), make("span", { class: "name" }),
    make("span", { class: "time" }), make("span", { class: "note" }), make("span", { class: "fill" })));
  const message = make("div", { role: "alert" }), detail = make("div", { class: "detail", "aria-live": "polite" });
  const code = make("code", { tabindex: "0" }), majorLabel = "trtexec, for its own GPU";
  // The notebook has shortcuts on plain letters, arrows and Enter.
  const root = make("div", { class: "trt pipe", onkeydown: isPlainKey },
    make("div", { class: "card", role: "group", "aria-label": "TensorRT workflow" },
      make("div", { class: "bar" }, ...selects.map((one) => make("label", {}, one.getAttribute("aria-label"), one)), go),
      make("div", { class: "panes" },
        make("ol", { role: "listbox", "aria-label": "Stages of the workflow" }, ...items),
        make("div", { class: "pane" }, message, detail)),
      make("div", { class: "command" }, make("label", {}, majorLabel, chooser(model, "major", majorLabel)), code)));

  const select = (index) => model.change("selected", names[index]);

  function steer(event, index) {
    const moves = { ArrowDown: index + 1, ArrowUp: index - 1, Home: 0, End: names.length - 1, Enter: index, " ": index };
    if (!(event.key in moves)) return;
    event.preventDefault();
    const to = Math.min(Math.max(moves[event.key], 0), names.length - 1);
    select(to);
    items[to].focus();
  }

  function drawStage(stage, index, slowest) {
    const item = items[index], chosen = stage.name === model.get("selected"), words = WORDS[stage.state] ?? stage.state;
    const note = stage.state === "not" ? "" : stage.note; // nobody did what is not possible here
    const share = stage.state === "running" ? stage.fraction ?? 0 : stage.seconds / slowest;
    item.dataset.state = stage.state;
    item.tabIndex = chosen ? 0 : -1;
    item.setAttribute("aria-selected", String(chosen));
    item.setAttribute("aria-label", `${index + 1}. ${stage.title}: ${words} ${stage.time} ${note}`.trim());
    const texts = [ICONS[stage.state] ?? index + 1, stage.title, stage.time, note || (stage.state === "waiting" ? "" : words)];
    texts.forEach((text, place) => { item.children[place].textContent = text; });
    item.lastChild.style.width = `${100 * share}%`;
  }

  const draw = {
    stages() {
      const stages = model.get("stages"), slowest = Math.max(...stages.map((stage) => stage.seconds), 1e-9);
      stages.forEach((stage, index) => drawStage(stage, index, slowest));
    },
    selected() { draw.stages(); },
    running() {
      const running = model.get("running");
      go.textContent = running ? "Cancel" : "Run";
      go.classList.toggle("stop", running);
      selects.forEach((one) => { one.disabled = running; });
    },
    detail() { detail.innerHTML = model.get("detail"); },
    message() { message.innerHTML = model.get("message"); },
    command() { // breaks between its options, never behind their dashes
      code.replaceChildren(...model.get("command").split(" ").flatMap((word) => [" ", make("span", {}, word)]).slice(1));
    },
  };
  for (const [name, show] of Object.entries(draw)) {
    model.on(`change:${name}`, show);
    show();
  }
  el.append(root);
}
