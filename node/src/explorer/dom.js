// Elements from data. Text always becomes text nodes, so nothing from outside is ever markup.

/** An HTML element: `on…` are listeners, `style` sets properties, the rest are attributes. */
export function h(tag, props, ...children) {
  return fill(document.createElement(tag), props, children);
}

/** The same for SVG. */
export function s(tag, props, ...children) {
  return fill(document.createElementNS('http://www.w3.org/2000/svg', tag), props, children);
}

function fill(element, props, children) {
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
export function setStyle(element, properties) {
  for (const [name, value] of Object.entries(properties)) element.style.setProperty(name, value);
}

/** What an element that can have the focus stands for. */
const NAMES = ['data-key', 'href', 'aria-label', 'name'];

/** Replaces what an element holds. The focus stays with what stands for the same as before. */
export function refill(element, ...children) {
  const focused = element.contains(document.activeElement) ? document.activeElement : null;
  const name = focused && NAMES.find((candidate) => focused.hasAttribute(candidate));
  const same = () => [...element.querySelectorAll(`[${name}="${CSS.escape(focused.getAttribute(name))}"]`)];
  const place = name ? same().indexOf(focused) : -1;
  element.replaceChildren(...children);
  if (place < 0) return;
  const found = same();
  (found[place] ?? found[0])?.focus({ preventScroll: true });
}

/** Changes a text only when it differs, so that nothing is laid out or announced again for no reason. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Says something short in a corner, and to screen readers. */
export function toast(text) {
  const place = document.getElementById('toast');
  place.textContent = text;
  place.classList.add('shown');
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => place.classList.remove('shown'), 2500);
}
