// static/quizcard.js: makes the card that Python drew take replies and show verdicts (teach/quizcard.py, which grades).
// In: model.get("face"), the card, and model.get("feedback"): verdict, marks, answer. Markup is Python's, escaped there.
// Out: messages {what: "check", reply} | {what: "answer"} | {what: "again"}.

let views = 0; // of this quiz: each has a script of its own

function fill(node, markup = "") {
  node.innerHTML = markup;
}

/** A wrong option that nobody picked is explained without red. */
function setMark(row, mark, picked = true) {
  row.classList.remove("qz-right", "qz-wrong", "qz-left");
  if (mark) row.classList.add(mark.verdict === "wrong" && !picked ? "qz-left" : `qz-${mark.verdict}`);
  fill(row.querySelector(".qz-sign"), mark?.sign);
  fill(row.querySelector(".qz-why"), mark?.why);
}

// --- the kinds: each has {read, show(reply), enable(on), focus}, most mark(marks, tried), digit(n) ----------------------

function ticks(card) {
  const isSeveral = card.dataset.kind === "several", list = card.querySelector("ul");
  const rows = [...list.children], inputs = rows.map((row) => row.querySelector("input"));
  const own = `${card.getAttribute("aria-labelledby")}-${++views}`; // what is chosen elsewhere leaves it alone
  inputs.forEach((input, i) => {
    input.name = own;
    input.setAttribute("aria-describedby", `${own}-${i}`);
    rows[i].lastChild.id = `${own}-${i}`;
    rows[i].setAttribute("role", "presentation");
  });
  list.setAttribute("role", isSeveral ? "group" : "radiogroup");
  list.setAttribute("aria-labelledby", card.getAttribute("aria-labelledby"));
  if (isSeveral) list.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    inputs[(inputs.indexOf(event.target) + step + inputs.length) % inputs.length].focus();
  });
  const picked = () => inputs.filter((input) => input.checked).map((input) => input.value);
  return {
    read: () => (isSeveral ? picked() : (picked()[0] ?? "")),
    show: (reply) => inputs.forEach((input) => { input.checked = [].concat(reply ?? []).includes(input.value); }),
    mark: (marks, tried) => rows.forEach((row, i) =>
      setMark(row, marks[row.dataset.key], inputs[i].checked || tried?.includes(row.dataset.key))),
    digit: (n) => { inputs[n - 1]?.focus(); inputs[n - 1]?.click(); },
    enable: (on) => inputs.forEach((input) => { input.disabled = !on; }),
    focus: () => (inputs.find((input) => input.checked) ?? inputs[0]).focus(),
  };
}

function number(card) {
  const input = card.querySelector(".qz-number input");
  const name = card.getAttribute("aria-labelledby");
  input.nextElementSibling?.setAttribute("id", `${name}-unit`);
  input.setAttribute("aria-labelledby", `${name} ${name}-unit`);
  return {
    read: () => input.value,
    show: (reply) => { if (reply === undefined) input.value = ""; else if (!input.value) input.value = reply; },
    enable: (on) => { input.disabled = !on; },
    focus: () => input.focus(),
  };
}

function ordering(card, announce) {
  const list = card.querySelector("ol"), rows = [...list.children];
  list.setAttribute("aria-labelledby", card.getAttribute("aria-labelledby"));
  let enabled = true;
  const now = () => [...list.children];
  const keys = () => now().map((row) => row.dataset.key);

  function settle(active) {
    now().forEach((row, i) => {
      row.querySelector(".qz-digit").textContent = String(i + 1);
      row.setAttribute("aria-label", `${row.querySelector(".qz-text").innerText}, ${i + 1} / ${rows.length}`);
      row.tabIndex = row === active ? 0 : -1;
      const [up, down] = row.querySelectorAll("button");
      up.tabIndex = down.tabIndex = row.tabIndex;
      [up.disabled, down.disabled] = [!enabled || i === 0, !enabled || i === rows.length - 1];
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
    const arrow = event.target.closest("button"), row = event.target.closest("li");
    if (arrow) place(row, now().indexOf(row) + Number(arrow.dataset.step), arrow);
  });
  list.addEventListener("focusin", (event) => settle(event.target.closest("li")));
  list.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key], row = event.target.closest("li");
    if (!step) return;
    event.preventDefault();
    if (event.altKey) place(row, now().indexOf(row) + step);
    else now()[now().indexOf(row) + step]?.focus();
  });
  dragging(list, now, place, () => enabled);
  const start = keys();
  return {
    read: keys,
    show: (reply) => {
      const order = reply ?? start;
      if (order.join() !== keys().join()) list.replaceChildren(...order.map((key) => rows.find((row) => row.dataset.key === key)));
      settle(list.firstChild);
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
    const middle = (row) => row.getBoundingClientRect().top + row.getBoundingClientRect().height / 2;
    place(held, now().filter((row) => row !== held && middle(row) < event.clientY).length);
  });
  for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) list.addEventListener(end, drop);
}

// --- the card ------------------------------------------------------------------------------------------------------

function render({ model, el }) {
  fill(el, model.get("face"));
  el.classList.add("trt");
  const card = el.firstChild, part = (name) => card.querySelector(name);
  const [told, answer, state, how, heard] = [".qz-told", ".qz-answer", ".qz-state", ".qz-how", ".qz-heard"].map(part);
  const [check, show, again] = ["check", "answer", "again"].map((what) => part(`[data-what=${what}]`));
  const kind = { choice: ticks, several: ticks, number, ordering }[card.dataset.kind](card, (text) => { heard.textContent = text; });
  const send = (what) => model.send(what === "check" ? { what, reply: kind.read() } : { what });
  for (const does of [check, show, again]) does.addEventListener("click", () => send(does.dataset.what));

  function update(fresh) {
    const { verdict, told: words, marks = {}, tried, reply, attempts, tries, answer: found } = model.get("feedback");
    const hadFocus = el.contains(document.activeElement);
    told.className = `qz-told qz-${verdict}`;
    fill(told, words);
    if (verdict === "unread") return;
    if (reply !== undefined || !fresh) kind.show(reply ?? undefined);
    kind.mark?.(marks, tried);
    kind.enable(!found);
    fill(answer, found);
    check.hidden = how.hidden = Boolean(found);
    show.hidden = Boolean(found) || !attempts;
    again.hidden = !found;
    if (found || (!attempts && !fresh)) part(".trt-show").checked = Boolean(found);
    window.trtTongue.again?.();
    if (tries) fill(state, tries);
    if (hadFocus && found) told.focus({ preventScroll: true });
    else if (hadFocus && !verdict && !fresh) kind.focus();
  }

  card.addEventListener("keydown", (event) => {
    event.stopPropagation(); // the notebook has shortcuts on plain letters and digits
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("summary, pre")) return;
    const isTyping = event.target.matches("input[type=text]");
    if (event.key === "Enter" && !event.target.closest("button")) { event.preventDefault(); if (!check.hidden) send("check"); }
    else if (/^[1-9]$/.test(event.key) && !isTyping) { event.preventDefault(); kind.digit?.(Number(event.key)); }
  });
  const changed = () => update(false);
  model.on("change:feedback", changed);
  update(true);
  return () => model.off("change:feedback", changed);
}
