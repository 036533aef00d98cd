// What every widget's script begins with: teach/widget.py puts this file in front of it, and gives the page its `render`
// as `answered` makes it. Text becomes text nodes or goes
// through the XML parser; what goes through the HTML parser is markup that Python made, and escaped.

/** An element. Attributes `on…` are listeners; false, null and undefined are left out, true is an empty attribute. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== false && value != null) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

/** A button that says `label` to a pointer and to a screen reader. */
function button(text, label, onclick, more = {}) {
  return make("button", { type: "button", title: label, "aria-label": label, onclick, ...more }, text);
}

/** An entry or a choice behind its label. */
const labelled = (text, node) => make("label", {}, make("span", {}, text), node);

/** An SVG that Python drew, as an element of this page. */
function drawn(source) {
  return document.importNode(new DOMParser().parseFromString(source, "image/svg+xml").documentElement, true);
}

/** A row of keys and what they do. */
function keyHints(keys) {
  return keys.flatMap(([key, what]) => [make("kbd", {}, key), ` ${what}  `]);
}

/** Facts below a picture: label, value and note of each in a box. */
const factBoxes = (rows) => rows.map(([label, value, note]) =>
  make("div", { class: "box fact" }, make("small", {}, label), make("b", {}, value), make("span", { class: "dim" }, note)));

/** Wishes to Python, one at a time: those of meanwhile wait, joined, until an answer is here, also to what changes nothing. */
function inTurn(model, join) {
  let busy = false, later = null;
  const ask = (wish) => {
    if (busy) later = join(later, wish);
    else { busy = true; model.send(wish); }
  };
  const answer = () => {
    const wish = later;
    [busy, later] = [false, null];
    if (wish) ask(wish);
  };
  model.on("msg:custom", answer);
  return { ask, isBehind: () => later !== null, end: () => model.off("msg:custom", answer) };
}

/** Keeps plain keys from the notebook's shortcuts; whether `event` is such a key. */
function isPlainKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return false;
  event.stopPropagation();
  return true;
}

/** anywidget 0.11 drops what Python says to a model that took 2 s to start, as on a busy page: it hears again, and asks. */
async function hearAgain(model) {
  const all = await Promise.all(Object.values(model.widget_manager?._models ?? {}));
  const one = all.find((other) => other.comm && other.get("shown") === model.get("shown"));
  one?.comm.on_msg(Object.getPrototypeOf(Object.getPrototypeOf(one))._handle_comm_msg.bind(one)); // past anywidget's own
  one?.comm.send({ method: "request_state" }, {});
}

const QUEUED_MS = 100, SAVED = "a saved picture: run this cell to make it live";

/** The same widget, never silent: each message to Python is followed by a ping. What is not answered soon waits behind
 *  other work of the kernel, or there is nobody to answer: the notebook was opened again, or the kernel restarted. */
const answered = (render) => ({ model, el, ...rest }) => {
  const note = make("div", { class: "trt-waits", role: "status", hidden: true });
  let asked = 0, timer = 0, tries = 0, end = null;
  const say = (words) => {
    [note.textContent, note.hidden] = [words, !words];
    note.classList.toggle("trt-saved", words === SAVED);
  };
  const isBusy = () => {
    const kernel = model.widget_manager?.kernel; // null: it was shut down
    return kernel !== null && !["idle", "dead"].includes(kernel?.status);
  };
  const wait = (isLate) => { // an idle kernel has a second: a page that draws much hears late
    say(isBusy() ? "queued: the kernel is busy" : isLate ? SAVED : "");
    timer = setTimeout(wait, 1000, true);
    if (!isLate || isBusy() || (tries += 1) > 1) return;
    hearAgain(model).then(() => attempt("send", { ping: (asked += 1) }), () => {});
  };
  const ping = () => {
    clearTimeout(timer);
    timer = setTimeout(wait, QUEUED_MS, false);
    attempt("send", { ping: (asked += 1) });
  };
  const attempt = (name, ...given) => {
    try { model[name](...given); } catch { clearTimeout(timer); say(SAVED); } // nobody is there: the kernel was restarted, or shut down
  };
  const hear = (message) => {
    if (message?.pong === asked) { clearTimeout(timer); say(""); }
    if (message?.pong && !end) begin();
  };
  const followed = (name) => (...given) => { attempt(name, ...given); ping(); };
  model.on("msg:custom", hear);
  const place = make("div");
  el.append(note, place);
  const save = followed("save_changes"), change = (name, value) => { model.set(name, value); save(); };
  const said = { ...model, send: followed("send"), change };
  const begin = () => { place.replaceChildren(); end = render({ model: said, el: place, ...rest }) ?? (() => {}); };
  try { begin(); } catch { } // what it shows is not here yet: once more with the first answer
  ping();
  return () => { clearTimeout(timer); model.off("msg:custom", hear); end?.(); };
};
