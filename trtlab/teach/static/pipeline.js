// Renders PipelineView (teach/pipeline.py). All state lives in Python; `detail` and `message` are markup that Python
// made and escaped; everything else is set as text.

const ICONS = { done: "✓", stood: "≈", not: "–", failed: "!", cancelled: "×", running: "…" };
const WORDS = {
  waiting: "waiting", running: "running", done: "done", stood: "ONNX Runtime stood in",
  not: "not possible here", failed: "failed", cancelled: "cancelled",
};
const LABELS = { model: "Model", precision: "Precision", target: "Target", dynamic: "Batch" };

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

function chooser(model, name, label) {
  const values = model.get("options")[name];
  const select = element("select", { "data-choice": name, "aria-label": label });
  values.forEach(([, text], index) => select.append(element("option", { value: index }, text)));
  const show = () => { select.value = values.findIndex(([key]) => key === model.get("choice")[name]); };
  select.addEventListener("change", () => {
    model.set("choice", { ...model.get("choice"), [name]: values[select.value][0] });
    model.save_changes();
  });
  model.on("change:choice", show);
  show();
  return { select, label: element("label", {}, label, select) };
}

function render({ model, el }) {
  const choosers = Object.entries(LABELS).map(([name, label]) => chooser(model, name, label));
  const go = element("button", { class: "go", type: "button" });
  // The choice goes along: a busy kernel may get a saved choice later than a message.
  go.addEventListener("click", () => model.send(
    model.get("running") ? { what: "cancel" } : { what: "run", choice: model.get("choice") }));
  const list = element("ol", { role: "listbox", "aria-label": "Stages of the workflow" });
  const message = element("div", { role: "alert" });
  const detail = element("div", { class: "detail", "aria-live": "polite" });
  const code = element("code", { tabindex: "0" });
  const major = chooser(model, "major", "trtexec, for its own GPU");
  const root = element("div", { class: "trt pipe" },
    element("div", { class: "card", role: "group", "aria-label": "TensorRT workflow" },
      element("div", { class: "bar" }, ...choosers.map((c) => c.label), go),
      element("div", { class: "panes" }, list, element("div", { class: "pane" }, message, detail)),
      element("div", { class: "command" }, major.label, code)));

  root.addEventListener("keydown", (event) => { // the notebook has shortcuts on plain letters, arrows and Enter
    if (!event.ctrlKey && !event.metaKey && !event.altKey) event.stopPropagation();
  });

  const select = (name, focus) => {
    model.set("selected", name);
    model.save_changes();
    drawStages();
    if (focus) list.querySelector(`[data-stage="${name}"]`).focus();
  };

  const drawStages = () => {
    const stages = model.get("stages");
    const slowest = Math.max(...stages.map((stage) => stage.seconds), 1e-9);
    stages.forEach((stage, index) => {
      const item = list.children[index] ?? list.appendChild(newItem(stage.name, index));
      const chosen = stage.name === model.get("selected");
      const note = stage.state === "not" ? "" : stage.note; // nobody did what is not possible here
      item.dataset.state = stage.state;
      item.setAttribute("aria-selected", String(chosen));
      item.tabIndex = chosen ? 0 : -1;
      item.setAttribute("aria-label", `${index + 1}. ${stage.title}: ${WORDS[stage.state]} ${stage.time} ${note}`.trim());
      item.querySelector(".icon").textContent = ICONS[stage.state] ?? String(index + 1);
      item.querySelector(".name").textContent = stage.title;
      item.querySelector(".time").textContent = stage.time;
      item.querySelector(".note").textContent = note || (stage.state === "waiting" ? "" : WORDS[stage.state]);
      const share = stage.state === "running" ? stage.fraction ?? 0 : stage.seconds / slowest;
      item.querySelector(".fill").style.width = `${100 * share}%`;
    });
  };

  const newItem = (name, index) => {
    const item = element("li", { role: "option", "data-stage": name },
      element("span", { class: "icon", "aria-hidden": "true" }), element("span", { class: "name" }),
      element("span", { class: "time" }), element("span", { class: "note" }), element("span", { class: "fill" }));
    item.addEventListener("click", () => select(name, false));
    item.addEventListener("keydown", (event) => {
      const names = model.get("stages").map((stage) => stage.name);
      const moves = { ArrowDown: index + 1, ArrowUp: index - 1, Home: 0, End: names.length - 1 };
      if (event.key in moves) select(names[Math.min(Math.max(moves[event.key], 0), names.length - 1)], true);
      else if (event.key === "Enter" || event.key === " ") select(name, false);
      else return;
      event.preventDefault();
    });
    return item;
  };

  const drawRunning = () => {
    const running = model.get("running");
    go.textContent = running ? "Cancel" : "Run";
    go.classList.toggle("stop", running);
    choosers.forEach(({ select: chosen }) => { chosen.disabled = running; });
  };
  const drawDetail = () => { detail.innerHTML = model.get("detail"); };
  const drawMessage = () => { message.innerHTML = model.get("message"); };
  const drawCommand = () => { code.textContent = model.get("command"); };

  model.on("change:stages", drawStages);
  model.on("change:selected", drawStages);
  model.on("change:running", drawRunning);
  model.on("change:detail", drawDetail);
  model.on("change:message", drawMessage);
  model.on("change:command", drawCommand);
  [drawStages, drawRunning, drawDetail, drawMessage, drawCommand].forEach((draw) => draw());
  el.append(root);
}

export default { render };
