/**
 * Splits a playlist into lines and a tag into its attributes (RFC 8216bis, 4.1 and 4.2). Every piece has its position in
 * the text, so that one reading tells what a URI means and where it stands.
 */

const SPACE = 32;
const QUOTE = 34;
const COMMA = 44;
const COLON = 58;
const EQUALS = 61;

/** A copy of a piece of a text. V8 keeps the whole text for as long as a piece of more than 12 characters lives. */
export function copyOf(piece: string): string {
  return Buffer.from(piece).toString();
}

/** Walks over the lines of a text that are not blank. The fields describe the current line. */
export class LineScanner {
  /** Where the line starts in the text. */
  start: number;
  /** Where its content starts and ends, without the white space around it. */
  from = 0;
  to = 0;
  /** Where the next line starts. */
  next: number;
  /** The name of a tag, such as `#EXTINF`; an empty string for a URI; `#` for a comment. */
  tag = '';
  /** Where the value of a tag starts: behind the colon and white space. */
  valueFrom = 0;
  /** The next carriage return: most texts have none, and must be searched for it once, not once a line. */
  private returnAt = -1;

  constructor(
    readonly text: string,
    from = 0,
  ) {
    this.start = from;
    this.next = from;
  }

  /** Moves to the next line that is not blank. False at the end of the text. */
  advance(): boolean {
    const { text } = this;
    while (this.next < text.length) {
      this.start = this.next;
      let end = positionOrEnd(text.indexOf('\n', this.start), text);
      // A carriage return alone ends a line too, as players read it.
      if (this.returnAt < this.start) this.returnAt = positionOrEnd(text.indexOf('\r', this.start), text);
      if (this.returnAt < end - 1) end = this.returnAt;
      this.next = Math.min(end + 1, text.length);
      let from = this.start;
      let to = end;
      while (from < to && isWhite(text.charCodeAt(from))) from++;
      while (from < to && isWhite(text.charCodeAt(to - 1))) to--;
      if (from === to) continue;
      this.from = from;
      this.to = to;
      this.readTag();
      return true;
    }
    return false;
  }

  /** The content of a URI line, or the value of a tag. */
  value(): string {
    return this.text.slice(this.tag === '' ? this.from : this.valueFrom, this.to);
  }

  /** `expand` replaces the variables in a value. */
  attributes(expand?: (value: string) => string): AttributeList {
    return new AttributeList(this.text, this.valueFrom, this.to, expand);
  }

  private readTag(): void {
    const { text, from, to } = this;
    if (!text.startsWith('#', from)) {
      this.tag = '';
      return;
    }
    if (!text.startsWith('#EXT', from)) {
      this.tag = '#';
      return;
    }
    let at = from + 4;
    while (at < to && text.charCodeAt(at) !== COLON && !isWhite(text.charCodeAt(at))) at++;
    this.tag = text.slice(from, at);
    while (at < to && isWhite(text.charCodeAt(at))) at++;
    if (at < to && text.charCodeAt(at) === COLON) at++;
    while (at < to && isWhite(text.charCodeAt(at))) at++;
    this.valueFrom = at;
  }
}

export interface Attribute {
  readonly name: string;
  /** Without the quotes; an empty string where the attribute has no value. */
  readonly value: string;
  readonly quoted: boolean;
  /** A quoted string that nothing closes. */
  readonly open: boolean;
  /** Where the value stands in the text, without the quotes. */
  readonly from: number;
  readonly to: number;
}

/**
 * An attribute list, split once. It follows RFC 8216bis, 4.2, and reads on where packagers do not: white space around
 * names and values, attributes without a value, a quoted string that nothing closes. Unknown attributes are kept.
 */
export class AttributeList implements Iterable<Attribute> {
  private readonly attributes: readonly Attribute[];

  constructor(
    text: string,
    from: number,
    to: number,
    private readonly expand = (value: string): string => value,
  ) {
    this.attributes = split(text, from, to);
  }

  [Symbol.iterator](): Iterator<Attribute> {
    return this.attributes[Symbol.iterator]();
  }

  /** The value of the first attribute of this name; undefined where there is none, or it has no value. */
  get(name: string): string | undefined {
    const found = this.attributes.find((attribute) => attribute.name === name);
    return found === undefined || found.value === '' ? undefined : this.expand(found.value);
  }
}

function split(text: string, start: number, end: number): Attribute[] {
  const attributes: Attribute[] = [];
  let at = start;
  while (at < end) {
    while (at < end && (isWhite(text.charCodeAt(at)) || text.charCodeAt(at) === COMMA)) at++;
    if (at >= end) break;
    const nameFrom = at;
    while (at < end && text.charCodeAt(at) !== EQUALS && text.charCodeAt(at) !== COMMA) at++;
    const name = text.slice(nameFrom, at).trim();
    if (at >= end || text.charCodeAt(at) === COMMA) {
      attributes.push({ name, value: '', quoted: false, open: false, from: at, to: at });
      continue;
    }
    at++;
    while (at < end && isWhite(text.charCodeAt(at))) at++;
    const quoted = at < end && text.charCodeAt(at) === QUOTE;
    const from = quoted ? at + 1 : at;
    const closed = quoted ? positionOf(text, QUOTE, from, end) : from;
    const open = quoted && !closes(text, closed, from, end);
    let to = open ? endOfOpen(text, from, end) : quoted ? closed : positionOf(text, COMMA, from, end);
    at = quoted && !open ? positionOf(text, COMMA, to, end) : to;
    if (!quoted || open) while (to > from && isWhite(text.charCodeAt(to - 1))) to--;
    attributes.push({ name, value: text.slice(from, to), quoted, open, from, to });
  }
  return attributes;
}

/** Whether the quote at a position closes the string from `from` on. Behind a comma, a name and `=` it opens the next one. */
function closes(text: string, quote: number, from: number, end: number): boolean {
  if (quote === end) return false;
  let next = quote + 1;
  while (next < end && isWhite(text.charCodeAt(next))) next++;
  return (
    next === end || text.charCodeAt(next) === COMMA || !/,\s*[A-Z\d-]+\s*=\s*$/.test(text.slice(from, quote))
  );
}

/** A string that nothing closes ends in front of the next attribute, so that the list does not lose what is behind it. */
function endOfOpen(text: string, from: number, end: number): number {
  const next = text.slice(from, end).search(/,\s*[A-Z\d-]+\s*=/);
  return next < 0 ? end : from + next;
}

function positionOrEnd(position: number, text: string): number {
  return position < 0 ? text.length : position;
}

/** Where a character stands at or behind `from`; `end` where it does not. */
function positionOf(text: string, character: number, from: number, end: number): number {
  let at = from;
  while (at < end && text.charCodeAt(at) !== character) at++;
  return at;
}

function isWhite(character: number): boolean {
  return character <= SPACE;
}
