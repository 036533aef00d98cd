// What every widget's script begins with: teach/widget.py puts this file in front of it. Text becomes text nodes or goes
// through the XML parser, never through the HTML parser.

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

/** Keeps plain keys from the notebook's shortcuts; whether `event` is such a key. */
function isPlainKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return false;
  event.stopPropagation();
  return true;
}
