// DOM elements from data. Text always becomes text nodes, so foreign text is never parsed as markup.

/** Creates an HTML element: props named `on…` are listeners, `style` sets CSS properties, the rest are attributes. */
export function h(tag, props, ...children) {
  return build(document.createElement(tag), props, children);
}

/** Creates an SVG element with the same props as `h`. */
export function s(tag, props, ...children) {
  return build(document.createElementNS('http://www.w3.org/2000/svg', tag), props, children);
}

function build(element, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name === 'style') setStyle(element, value);
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Sets CSS properties, custom ones included. */
function setStyle(element, properties) {
  for (const [name, value] of Object.entries(properties)) element.style.setProperty(name, value);
}

/** Attributes that identify a focusable element across updates. */
const IDENTITY = ['data-key', 'href', 'aria-label', 'name'];

/** Replaces the children of an element. If one of them has the focus, its counterpart among the new children receives it. */
export function replaceContent(element, ...children) {
  const focused = element.contains(document.activeElement) ? document.activeElement : null;
  const attribute = focused && IDENTITY.find((candidate) => focused.hasAttribute(candidate));
  const counterparts = () => [...element.querySelectorAll(`[${attribute}="${CSS.escape(focused.getAttribute(attribute))}"]`)];
  const index = attribute ? counterparts().indexOf(focused) : -1;
  element.replaceChildren(...children);
  if (index < 0) return;
  const found = counterparts();
  (found[index] ?? found[0])?.focus({ preventScroll: true });
}

/** Sets the text of an element only if it differs, which avoids needless layout and screen-reader announcements. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Shows a short message in a corner and announces it to screen readers. */
export function toast(text) {
  const element = document.getElementById('toast');
  element.textContent = text;
  element.classList.add('shown');
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => element.classList.remove('shown'), 2500);
}
