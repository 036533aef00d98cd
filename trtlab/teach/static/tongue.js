/* One choice of language for all cards of a page, remembered for this notebook. */
(() => {
  const key = "trtlab-tongue " + location.pathname, say = (zh) =>
    document.querySelectorAll(".trt .tongue input").forEach((box) => { box.checked = zh; });
  window.trtTongue = (zh) => { say(zh); localStorage.setItem(key, zh); };
  window.trtTongue.isChinese = () => localStorage.getItem(key) === "true";
  if (localStorage.getItem(key)) setTimeout(() => say(window.trtTongue.isChinese()));
})();
