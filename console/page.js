/** Helpers for the elements of the page. Texts of users become text nodes only, so that none is read as HTML. */

export const find = (selector, within = document) => within.querySelector(selector);

/** Makes an element. `children`: elements and texts. */
export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** Changes the text only if it differs, so that screen readers do not read it again. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Shows a text in an element that is hidden while it has none. */
export function show(node, text) {
  setText(node, text ?? '');
  node.hidden = !text;
}

/** Tells screen readers what has changed. */
export const announce = (text) => setText(find('#news'), text);

export const timeOf = (instant) => new Date(instant).toLocaleTimeString([], { timeStyle: 'medium' });

/** The time of an instant, with its day unless that is today. */
export function momentOf(instant) {
  const date = new Date(instant);
  const isToday = date.toDateString() === new Date().toDateString();
  return isToday ? timeOf(date) : date.toLocaleString([], { dateStyle: 'medium', timeStyle: 'medium' });
}

/** Such as `1 h 3 min`, `4 min 10 s` or `12 s`. */
export function durationOf(ms) {
  const seconds = Math.max(0, Math.ceil(ms / 1_000));
  const [hours, minutes] = [Math.floor(seconds / 3_600), Math.floor(seconds / 60) % 60];
  if (hours > 0) return `${hours} h ${minutes} min`;
  return minutes > 0 ? `${minutes} min ${seconds % 60} s` : `${seconds} s`;
}
