/* One choice of language for all cards of a page, remembered for this notebook. */
(() => {
  const key = "trtlab-tongue " + location.pathname, say = (zh) =>
    document.querySelectorAll(".trt .tongue input").forEach((box) => { box.checked = zh; });
  window.trtTongue = (zh) => { say(zh); localStorage.setItem(key, zh); };
  const known = localStorage.getItem(key);
  if (known) setTimeout(() => say(known === "true"));
})();
