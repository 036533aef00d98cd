/* One choice of language for all cards of a page, remembered for this notebook; and a guess that uncovers what follows. */
(() => {
  if (window.trtTongue) return window.trtTongue.again();
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
  document.addEventListener("click", ({ target }) => {
    if (target.closest?.(".trt-all")) uncover(document.querySelectorAll(".trt-show"));
  });
})();
