/* What cards do with no kernel: one choice of language for a page, remembered for this notebook; a guess that uncovers what
   follows; bits that flip; a saved quiz that answers with the words that its closed part holds. */
(() => {
  if (window.trtTongue?.again) return window.trtTongue.again();
  const key = () => "trtlab-tongue " + location.pathname, say = (zh) =>
    document.querySelectorAll(".trt .tongue input").forEach((box) => { box.checked = zh; });
  window.trtTongue = (zh) => { say(zh); localStorage.setItem(key(), zh); };
  window.trtTongue.isChinese = () => localStorage.getItem(key()) === "true";
  window.trtTongue.again = () => { if (localStorage.getItem(key())) setTimeout(() => say(window.trtTongue.isChinese())); };
  window.trtTongue.again();
  const uncover = (boxes) => boxes.forEach((box) => { box.checked = true; });
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
  };
  document.addEventListener("change", ({ target }) => {
    if (target.closest?.(".trt-flips")) flipped(target.closest(".trt-flips"));
    if (target.type === "radio" && target.closest(".trt-asked")) picked(target, target.closest(".trt-asked"));
  });
  document.addEventListener("click", ({ target }) => {
    if (target.closest?.(".trt-all")) uncover(document.querySelectorAll(".trt-show"));
  });
})();
