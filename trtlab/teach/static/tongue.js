/* What cards do with no kernel: one choice of language for a page, remembered for this notebook; a guess that uncovers what
   follows; bits that flip; a saved quiz that answers with the words that its closed part holds. */
(() => {
  if (window.trtTongue?.again) return window.trtTongue.again();
  const key = () => "trtlab-tongue " + location.pathname, say = (zh) =>
    document.querySelectorAll(".trt .tongue input").forEach((box) => { box.checked = zh; });
  window.trtTongue = (zh) => { say(zh); localStorage.setItem(key(), zh); };
  window.trtTongue.isChinese = () => localStorage.getItem(key()) === "true";
  window.trtTongue.again = () => setTimeout(() => {
    if (localStorage.getItem(key())) say(window.trtTongue.isChinese());
    cover();
  });
  window.trtTongue.again();
  /** Marks what lies behind a box that is not ticked: outputs below it, and the next two cells up to a heading or a box. */
  const REACH = 2;
  const cover = () => {
    let reach = 0, notebook = null;
    for (const cell of document.querySelectorAll(".jp-Cell")) {
      if (cell.parentElement !== notebook) [notebook, reach] = [cell.parentElement, 0];
      const boxes = [...cell.querySelectorAll(".trt-show")], isUnder = reach > 0 && !boxes.length;
      for (const box of boxes) box.closest(".jp-OutputArea-child")?.classList.toggle("trt-asks", !box.checked);
      cell.classList.toggle("trt-under", isUnder);
      reach = boxes.length ? REACH * boxes.some((box) => !box.checked) : cell.querySelector("h1, h2, h3") ? 0 : reach - 1;
    }
  };
  const uncover = (boxes) => {
    boxes.forEach((box) => { box.checked = true; });
    cover();
  };
  for (const kind of ["click", "keyup"]) document.addEventListener(kind, () => { // cells may have gone
    if (document.querySelector(".trt-under, .trt-asks")) setTimeout(cover);
  });
  const guessed = ({ target, key = "Enter" }) => {
    const isGuess = key === "Enter" && target.matches?.(".trt-entry") && target.value.trim();
    if (isGuess) uncover(target.closest(".trt-guess").querySelectorAll(".trt-show"));
  };
  for (const kind of ["change", "keydown"]) document.addEventListener(kind, guessed);
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
    if (words.classList.contains("right")) uncover(asked.querySelectorAll(".trt-show"));
  };
  document.addEventListener("change", ({ target }) => {
    if (target.matches?.(".trt-show")) cover();
    if (target.closest?.(".trt-flips")) flipped(target.closest(".trt-flips"));
    if (target.type === "radio" && target.closest(".trt-asked")) picked(target, target.closest(".trt-asked"));
  });
  window.addEventListener("unhandledrejection", (event) => { // plotly keeps a PNG of its figure, and Voila has no place for it
    if (`${event.reason}`.endsWith("setData is not a function")) event.preventDefault();
  });
  document.addEventListener("click", ({ target }) => {
    if (target.closest?.(".trt-all")) uncover(document.querySelectorAll(".trt-show"));
  });
})();
