/* What cards do with no kernel: two languages, of which the notebook remembers the one that was chosen; a guess that uncovers
   what follows; bits that flip; a saved quiz that answers with the words that its closed part holds. */
(() => {
  const source = document.currentScript?.textContent, here = window.trtTongue; // what an older package saved in this page gives way
  if (here && "source" in here && (!source || here.source === source)) return here.again();
  window.trtTongue = { source, again: () => setTimeout(() => { speak(); cover(); }) };
  window.trtTongue.again();
  /** Python leaves Chinese, and what works with scripts alone, in attributes: here they become elements. */
  const key = () => "trtlab-tongue " + location.pathname, does = "turns the card to Chinese (中文)";
  const SWITCH = `<input type="checkbox" role="switch" aria-label="${does}" title="${does}"><span lang="en">English</span><span lang="zh-CN">中文</span>`;
  const every = (what, each) => document.querySelectorAll(what).forEach(each);
  const made = (name, className, lang, innerHTML) => Object.assign(document.createElement(name), { className, lang, innerHTML });
  const speak = () => {
    every(".trt [data-live]", (node) => { node.innerHTML = node.dataset.live; node.removeAttribute("data-live"); });
    every(".trt [data-zh]", (node) =>
      node.replaceWith(made(node.localName, "en", "en", node.innerHTML), made(node.localName, "zh", "zh-CN", node.dataset.zh)));
    every(".trt .bilingual:not(:has(.tongue))", (card) => card.querySelector(".head, .trt-guess > div").append(made("label", "tongue push", "", SWITCH)));
    every(".trt .tongue input", (box) => { box.checked = localStorage.getItem(key()) === "true"; });
  };
  /** Marks what lies behind a box that is not ticked: outputs below it, code that may tell, the next two cells up to a heading or a
      box, and the words that end their section. */
  const REACH = 2, topOf = (element) => element.getBoundingClientRect().top;
  const cover = (used) => {
    let reach = 0, notebook = null, wasUnder = false;
    const card = used?.closest(".card");
    const changes = [], mark = (element, name, isOn) => {
      if (element && element.classList.contains(name) !== isOn) changes.push(() => element.classList.toggle(name, isOn));
    };
    for (const cell of document.querySelectorAll(".jp-Cell")) {
      const home = cell.closest(".jp-Notebook, body"); // Voila's page is one
      if (home !== notebook) [notebook, reach, wasUnder] = [home, 0, false];
      const boxes = [...cell.querySelectorAll(".trt-show")], heading = cell.querySelector(".jp-RenderedMarkdown :is(h1, h2, h3)");
      const isUnder = !boxes.length && (reach > 0 || wasUnder && Boolean(heading)), isOpen = boxes.some((box) => !box.checked);
      for (const box of boxes) mark(box.closest(".jp-OutputArea-child"), "trt-asks", !box.checked);
      mark(cell, "trt-under", isUnder);
      mark(cell, "trt-open", isOpen);
      [reach, wasUnder] = [boxes.length ? REACH * isOpen : heading ? 0 : reach - 1, isUnder && !heading];
    }
    if (!changes.length) return;
    const page = [...document.querySelectorAll(".jp-WindowedPanel-outer")].find((one) => one.offsetParent); // what is used or read stays in its place
    const read = page && (page.contains(card) ? card : [...page.querySelectorAll(".jp-Cell")].find((cell) => topOf(cell) >= topOf(page))), before = read && topOf(read);
    changes.forEach((change) => change());
    if (read) page.scrollTop += topOf(read) - before;
  };
  const uncover = (boxes, used) => { boxes.forEach((box) => { box.checked = true; }); cover(used); };
  for (const kind of ["click", "keyup"]) document.addEventListener(kind, () => { // cells may have gone
    if (document.querySelector(".trt-under, .trt-asks")) setTimeout(cover);
  });
  for (const kind of ["change", "keydown"]) document.addEventListener(kind, ({ target, key = "Enter" }) => {
    if (key === "Enter" && target.matches?.(".trt-entry") && target.value.trim()) uncover(target.closest(".trt-guess").querySelectorAll(".trt-show"), target);
  });
  const flipped = (flips) => {
    const code = [...flips.querySelectorAll("input")].reduce((sum, box) => 2 * sum + box.checked, 0), shown = flips.querySelector(".trt-code");
    shown.textContent = `0x${code.toString(16).padStart(shown.textContent.length - 2, "0")}`;
    flips.querySelector(".trt-value").textContent = flips.dataset.values.split(" ")[code];
  };
  const picked = (box, asked) => {
    asked.querySelectorAll(".trt-reply").forEach((reply) => reply.remove());
    const words = asked.querySelector(`details [data-key="${CSS.escape(box.value)}"]`).cloneNode(true);
    box.closest("li").append(Object.assign(document.createElement("div"), { className: "trt-reply" }));
    asked.querySelector(".trt-reply").append(words);
    asked.querySelector("details").open ||= words.classList.contains("right");
    if (words.classList.contains("right")) uncover(asked.querySelectorAll(".trt-show"), box);
  };
  document.addEventListener("change", ({ target }) => {
    if (target.matches?.(".trt-show")) cover(target);
    if (target.matches?.(".tongue input")) { localStorage.setItem(key(), target.checked); speak(); }
    if (target.closest?.(".trt-flips")) flipped(target.closest(".trt-flips"));
    if (target.type === "radio" && target.closest(".trt-asked")) picked(target, target.closest(".trt-asked"));
  });
  window.addEventListener("unhandledrejection", (event) => { // plotly's renderer calls its model's setData; Voila hands it JSON for a model
    if (`${event.reason}`.endsWith("setData is not a function")) event.preventDefault();
  });
  document.addEventListener("click", ({ target }) => { if (target.closest?.(".trt-all")) uncover(document.querySelectorAll(".trt-show"), target); });
})();
