// static/quizcard.js: shows a quiz, sends replies, shows the verdicts. Grading is Python's (teach/quizcard.py).
// In: model.get("face") (question, options) and model.get("feedback") (verdict, marks, answer), with words as {en, zh}.
// Out: messages {what: "check", reply} | {what: "answer"} | {what: "again"}. Texts become text nodes.

const SIGNS = { right: "✓", wrong: "✗" };
const PATIENCE_MS = 2000;
const LANG = { en: "en", zh: "zh-CN" };
let cards = 0;

/** Text in which `backticks` become <code>. */
const spans = (text) => text.split("`").map((part, i) => (i % 2 ? make("code", {}, part) : part));

/** Both languages, of which the style sheet shows one; words that are the same are there once. */
function both(words) {
  if (!words) return [];
  if (words.en === words.zh) return spans(words.en);
  return Object.keys(LANG).map((tongue) =>
    make("span", { class: tongue, lang: LANG[tongue] }, ...spans(words[tongue])));
}

/** Words for a screen reader, in the language of the page. */
const spoken = (words) => words[window.trtTongue.isChinese() ? "zh" : "en"].replaceAll("`", "");

function tongueSwitch() {
  const box = make("input", { type: "checkbox", role: "switch", title: "turns the card to Chinese (中文)", "aria-label": "turns the card to Chinese (中文)",
    onchange: () => window.trtTongue(box.checked) });
  box.checked = window.trtTongue.isChinese();
  return make("label", { class: "tongue push" }, box, make("span", { lang: "en" }, "English"),
    make("span", { lang: "zh-CN" }, "中文"));
}

/** A sign, and its word for those who do not see it. */
function sign(verdict) {
  if (!SIGNS[verdict]) return [];
  return [make("span", { "aria-hidden": "true" }, SIGNS[verdict]), make("span", { class: "qz-unseen" }, verdict)];
}

/** A wrong option that nobody picked is explained without red. */
function setMark(row, mark, picked = true) {
  row.classList.remove("qz-right", "qz-wrong", "qz-left");
  if (mark) row.classList.add(mark.verdict === "wrong" && !picked ? "qz-left" : `qz-${mark.verdict}`);
  row.querySelector(".qz-sign").replaceChildren(...sign(mark?.verdict));
  row.querySelector(".qz-why").replaceChildren(...both(mark?.why));
}

// --- the kinds: each has {node, read, show(reply), enable(on), focus}, most mark(marks, tried), digit(n) -----------------------

function ticks(face, id) {
  const several = face.kind === "several";
  const rows = face.options.map((option, i) => {
    const input = make("input", {
      type: several ? "checkbox" : "radio", name: `${id}-options`, value: option.key,
      "aria-describedby": `${id}-why-${i}`,
    });
    const digit = make("span", { class: "qz-digit", "aria-hidden": "true" }, String(i + 1));
    const label = make("label", {}, input, digit, make("span", { class: "qz-text" }, ...both(option.text)),
      make("span", { class: "qz-sign" }));
    return make("div", { class: "qz-row", "data-key": option.key }, label,
      make("div", { class: "qz-why", id: `${id}-why-${i}` }));
  });
  const inputs = rows.map((row) => row.querySelector("input"));
  const node = make("div", { role: several ? "group" : "radiogroup", "aria-labelledby": `${id}-question` }, ...rows);
  if (several) node.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    inputs[(inputs.indexOf(event.target) + step + inputs.length) % inputs.length].focus();
  });
  const picked = () => inputs.filter((input) => input.checked).map((input) => input.value);
  return {
    node,
    read: () => (several ? picked() : (picked()[0] ?? "")),
    show: (reply) => inputs.forEach((input) => { input.checked = [].concat(reply ?? []).includes(input.value); }),
    mark: (marks, tried) => rows.forEach((row, i) =>
      setMark(row, marks[row.dataset.key], inputs[i].checked || tried?.includes(row.dataset.key))),
    digit: (n) => { inputs[n - 1]?.focus(); inputs[n - 1]?.click(); },
    enable: (on) => inputs.forEach((input) => { input.disabled = !on; }),
    focus: () => (inputs.find((input) => input.checked) ?? inputs[0]).focus(),
  };
}

function number(face, id) {
  const input = make("input", {
    type: "text", inputmode: "decimal", autocomplete: "off", spellcheck: "false", placeholder: "?",
    "aria-labelledby": `${id}-question ${id}-unit`,
  });
  return {
    node: make("div", { class: "qz-number" }, input, make("span", { id: `${id}-unit` }, ...both(face.unit))),
    read: () => input.value,
    show: (reply) => { if (reply === undefined) input.value = ""; else if (!input.value) input.value = reply; },
    enable: (on) => { input.disabled = !on; },
    focus: () => input.focus(),
  };
}

function ordering(face, id, announce) {
  const list = make("ol", { class: "qz-order", "aria-labelledby": `${id}-question` });
  const rows = face.options.map((option) => make("li", { class: "qz-row", "data-key": option.key },
    make("div", { class: "qz-step" },
      make("span", { class: "qz-grip", "aria-hidden": "true" }, "⠿"), make("span", { class: "qz-digit" }),
      make("span", { class: "qz-text" }, ...both(option.text)), make("span", { class: "qz-sign" }),
      make("button", { type: "button", "data-step": "-1" }, "▲"), make("button", { type: "button", "data-step": "1" }, "▼")),
    make("div", { class: "qz-why" })));
  let enabled = true;
  const now = () => [...list.children];
  const keys = () => now().map((row) => row.dataset.key);

  function settle(active) {
    now().forEach((row, i) => {
      row.querySelector(".qz-digit").textContent = String(i + 1);
      const text = spoken(face.options.find((option) => option.key === row.dataset.key).text);
      row.setAttribute("aria-label", `${text}, ${i + 1} / ${rows.length}`);
      row.tabIndex = row === active ? 0 : -1;
      const [up, down] = row.querySelectorAll("button");
      for (const [arrow, words] of [[up, face.words.move_up], [down, face.words.move_down]]) {
        arrow.tabIndex = row.tabIndex;
        arrow.setAttribute("aria-label", `${spoken(words)}: ${text}`);
      }
      up.disabled = !enabled || i === 0;
      down.disabled = !enabled || i === rows.length - 1;
    });
  }
  function place(row, target, focused = row) {
    const others = now().filter((other) => other !== row);
    const index = Math.max(0, Math.min(target, others.length));
    if (!enabled || now().indexOf(row) === index) return;
    list.insertBefore(row, others[index] ?? null);
    settle(row);
    announce(row.getAttribute("aria-label"));
    (focused.disabled ? row : focused).focus(); // a moved node loses the focus
  }
  list.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    const row = event.target.closest("li");
    if (button) place(row, now().indexOf(row) + Number(button.dataset.step), button);
  });
  list.addEventListener("focusin", (event) => settle(event.target.closest("li")));
  list.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const row = event.target.closest("li");
    if (!step) return;
    event.preventDefault();
    if (event.altKey) place(row, now().indexOf(row) + step);
    else now()[now().indexOf(row) + step]?.focus();
  });
  dragging(list, now, place, () => enabled);
  const fill = (order) => {
    list.replaceChildren(...order.map((key) => rows.find((row) => row.dataset.key === key)));
    settle(list.firstChild);
  };
  const start = face.options.map((option) => option.key);
  fill(start);
  return {
    node: list,
    read: keys,
    show: (reply) => {
      const order = reply ?? start;
      if (order.join() !== keys().join()) fill(order);
    },
    mark: (marks) => rows.forEach((row) => setMark(row, marks[row.dataset.key])),
    digit: (n) => {
      const row = document.activeElement?.closest("li");
      if (list.contains(row) && n <= rows.length) place(row, n - 1);
    },
    enable: (on) => { enabled = on; settle(list.querySelector("li[tabindex='0']") ?? list.firstChild); },
    focus: () => list.querySelector("li[tabindex='0']").focus(),
  };
}

/** Rows of `list` follow the pointer: a mouse anywhere on a row, a finger on its grip. */
function dragging(list, now, place, isEnabled) {
  let held = null;
  const drop = () => { held?.classList.remove("qz-held"); held = null; };
  list.addEventListener("pointerdown", (event) => {
    const row = event.target.closest("li");
    const grip = event.pointerType === "mouse" || event.target.closest(".qz-grip");
    if (!row || !grip || !isEnabled() || event.button !== 0 || event.target.closest("button")) return;
    event.preventDefault(); // no text selection
    row.focus();
    held = row;
    held.classList.add("qz-held");
    list.setPointerCapture(event.pointerId);
  });
  list.addEventListener("pointermove", (event) => {
    if (!held) return;
    const others = now().filter((row) => row !== held);
    const above = others.filter((row) => {
      const box = row.getBoundingClientRect();
      return box.top + box.height / 2 < event.clientY;
    });
    place(held, above.length);
  });
  for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) list.addEventListener(end, drop);
}

// --- the answer, once it may be seen -------------------------------------------------------------------------------

function answerPanel(answer, given, words) {
  const slips = answer.slips.map((slip) => make("li", {}, make("b", {}, ...both(slip.text)), ": ", ...both(slip.why)));
  const parts = slips.length && !given ? [make("p", {}, make("b", {}, ...both(answer.text)))] : [];
  if (slips.length) parts.push(make("details", {}, make("summary", {}, ...both(words.typical_slips)), make("ul", {}, ...slips)));
  parts.push(make("div", { class: "qz-evidence" }, ...both(answer.evidence), " ",
    make("span", { class: `badge ${answer.origin}` }, answer.origin), make("div", { class: "dim" }, answer.provenance)));
  if (answer.code) parts.push(make("details", {}, make("summary", {}, ...both(words.how_computed), `: ${answer.where}`),
    make("pre", { class: "mono", tabindex: "0" }, answer.code)));
  return parts;
}

// --- the card ------------------------------------------------------------------------------------------------------

function render({ model, el }) {
  const face = model.get("face");
  const id = `qz-${(cards += 1)}-${Math.random().toString(36).slice(2, 8)}`;
  const heard = make("div", { class: "qz-unseen", "aria-live": "polite" });
  const told = make("div", { class: "qz-told", role: "status", "aria-live": "polite", tabindex: "-1" });
  const answer = make("div", { class: "qz-answer" });
  const state = make("span", { class: "dim" });
  const announce = (text) => { heard.textContent = text; };
  const kind = { choice: ticks, several: ticks, number, ordering }[face.kind](face, id, announce);
  const how = make("span", { class: "dim" }, ...both(face.how));
  let waiting = 0;

  const unanswered = () => tell("unread", null, face.words.no_answer);
  function send(message) {
    clearTimeout(waiting);
    waiting = setTimeout(unanswered, PATIENCE_MS);
    try { model.send(message); } catch { unanswered(); } // no kernel to send to
  }
  const check = () => { if (!checkButton.hidden) send({ what: "check", reply: kind.read() }); };
  const does = (words, onclick, style = "") =>
    make("button", { type: "button", class: `qz-button ${style}`, onclick }, ...both(words));
  const checkButton = does(face.words.check, check, "qz-main");
  const showButton = does(face.words.show_answer, () => send({ what: "answer" }));
  const againButton = does(face.words.start_over, () => send({ what: "again" }));
  const uncovers = make("input", { type: "checkbox", class: "trt-show" });

  /** `echoed`: a row of the card shows the explanation already, so it is only spoken here. */
  function tell(verdict, headline, says, echoed = false) {
    told.className = `qz-told qz-${verdict}`;
    const lead = headline ? [make("b", {}, ...sign(verdict), " ", ...both(headline)), " "] : [];
    told.replaceChildren(...lead, make("span", { class: echoed && "qz-unseen" }, ...both(says)));
  }
  function show(fresh) {
    clearTimeout(waiting);
    const { verdict, headline, says, marks = {}, tried, reply, attempts, tries, answer: found } = model.get("feedback");
    const hadFocus = el.contains(document.activeElement);
    if (verdict === "unread") return tell("unread", null, says);
    if (verdict) tell(verdict, headline, says,
      verdict === "wrong" && Object.values(marks).some((mark) => mark.why && says.en.includes(mark.why.en)));
    else told.replaceChildren();
    if (reply !== undefined || !fresh) kind.show(found?.order.length ? found.order : (reply ?? undefined));
    kind.mark?.(marks, tried);
    kind.enable(!found);
    answer.replaceChildren(...(found ? answerPanel(found, verdict === "right", face.words) : []));
    checkButton.hidden = Boolean(found);
    showButton.hidden = Boolean(found) || !attempts;
    againButton.hidden = !found;
    if (found || (!attempts && !fresh)) uncovers.checked = Boolean(found);
    window.trtTongue.again?.();
    how.hidden = Boolean(found);
    state.replaceChildren(...(attempts ? both(tries) : [face.name]));
    if (hadFocus && found) told.focus({ preventScroll: true });
    else if (hadFocus && !verdict && !fresh) kind.focus();
  }

  const card = make("div", { class: "card qz bilingual", role: "group", "aria-labelledby": `${id}-question`, "data-lm-suppress-shortcuts": "true" },
    make("div", { class: "head" }, make("b", {}, ...both(face.words.quiz)), make("span", { class: "dim" }, ...both(face.asks)),
      state, tongueSwitch()),
    make("div", { class: "body" }, make("p", { class: "qz-question", id: `${id}-question` }, ...both(face.question)),
      kind.node, make("div", { class: "qz-actions" }, checkButton, showButton, againButton,
        make("label", { class: "trt-uncovers" }, uncovers, make("span", {}, ...both(face.words.show_what_follows))), how), told, answer, heard));
  card.addEventListener("keydown", (event) => {
    event.stopPropagation(); // the notebook has shortcuts on plain letters and digits
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("summary, pre")) return;
    const typing = event.target.matches("input[type=text]");
    if (event.key === "Enter" && !event.target.closest("button")) { event.preventDefault(); check(); }
    else if (/^[1-9]$/.test(event.key) && !typing) { event.preventDefault(); kind.digit?.(Number(event.key)); }
  });
  el.classList.add("trt");
  el.append(card);
  const update = () => show(false);
  model.on("change:feedback", update);
  show(true);
  return () => { clearTimeout(waiting); model.off("change:feedback", update); };
}

export default { render: answered(render) };
