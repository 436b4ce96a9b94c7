import { LongText } from '../../http/long-texts.js';

/**
 * Splits a playlist into lines and a tag into its attributes (RFC 8216bis, 4.1 and 4.2). Every piece has its position in
 * the text, so that one reading tells what a URI means and where it stands.
 */

const SPACE = 32;
const QUOTE = 34;
const COMMA = 44;
const COLON = 58;
const EQUALS = 61;

/** Attributes behind these are kept as they are. Real lists have a few dozen, and a list is split in one piece. */
const MAX_ATTRIBUTES = 1_000;

/** A copy of a piece of a text. V8 keeps the whole text for as long as a piece of more than 12 characters lives. */
export function copyOf(piece: string): string {
  return Buffer.from(piece).toString();
}

/** Walks over the lines of a text that are not blank. The fields describe the current line. */
export class LineScanner {
  /** Where the line starts in the text. */
  start = 0;
  /** Where its content starts and ends, without the white space around it. */
  from = 0;
  to = 0;
  /** Where the next line starts. */
  next = 0;
  /** The name of a tag, such as `#EXTINF`; an empty string for a URI; `#` for a comment. */
  tag = '';
  /** Where the value of a tag starts: behind the colon and white space. */
  valueFrom = 0;
  private readonly text: LongText;
  /** The piece of the text that the line is in, and where that starts. No line is in two. */
  private piece = '';
  private pieceStart = 0;
  /** The next carriage return in the piece: most texts have none, and must be searched for it once, not once a line. */
  private returnAt = -1;

  constructor(text: string | LongText) {
    this.text = typeof text === 'string' ? new LongText([text]) : text;
  }

  /** Moves to the next line that is not blank. False at the end of the text. */
  advance(): boolean {
    while (this.next < this.text.length) {
      this.start = this.next;
      this.findPiece();
      const { piece, pieceStart } = this;
      const start = this.start - pieceStart;
      let end = positionOrEnd(piece.indexOf('\n', start), piece);
      // A carriage return alone ends a line too, as players read it.
      if (this.returnAt < start) this.returnAt = positionOrEnd(piece.indexOf('\r', start), piece);
      if (this.returnAt < end - 1) end = this.returnAt;
      this.next = pieceStart + Math.min(end + 1, piece.length);
      let from = start;
      let to = end;
      while (from < to && isWhite(piece.charCodeAt(from))) from++;
      while (from < to && isWhite(piece.charCodeAt(to - 1))) to--;
      if (from === to) continue;
      this.from = pieceStart + from;
      this.to = pieceStart + to;
      this.readTag(from, to);
      return true;
    }
    return false;
  }

  /** The content of a URI line, or the value of a tag. */
  value(): string {
    const { piece, pieceStart } = this;
    return piece.slice((this.tag === '' ? this.from : this.valueFrom) - pieceStart, this.to - pieceStart);
  }

  /** `expand` replaces the variables in a value. */
  attributes(expand?: (value: string) => string): AttributeList {
    return new AttributeList(this.value(), this.valueFrom, expand);
  }

  private findPiece(): void {
    if (this.start >= this.pieceStart && this.start < this.pieceStart + this.piece.length) return;
    ({ piece: this.piece, start: this.pieceStart } = this.text.pieceAt(this.start));
    this.returnAt = -1;
  }

  /** Both are positions in the piece. */
  private readTag(from: number, to: number): void {
    const { piece } = this;
    if (!piece.startsWith('#', from)) {
      this.tag = '';
      return;
    }
    if (!piece.startsWith('#EXT', from)) {
      this.tag = '#';
      return;
    }
    let at = from + 4;
    while (at < to && piece.charCodeAt(at) !== COLON && !isWhite(piece.charCodeAt(at))) at++;
    this.tag = piece.slice(from, at);
    while (at < to && isWhite(piece.charCodeAt(at))) at++;
    if (at < to && piece.charCodeAt(at) === COLON) at++;
    while (at < to && isWhite(piece.charCodeAt(at))) at++;
    this.valueFrom = this.pieceStart + at;
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

  /** `start` is where the list starts in the text. */
  constructor(
    list: string,
    start: number,
    private readonly expand = (value: string): string => value,
  ) {
    this.attributes = split(list, start);
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

function split(text: string, start: number): Attribute[] {
  const attributes: Attribute[] = [];
  const end = text.length;
  let at = 0;
  while (at < end && attributes.length < MAX_ATTRIBUTES) {
    while (at < end && (isWhite(text.charCodeAt(at)) || text.charCodeAt(at) === COMMA)) at++;
    if (at >= end) break;
    const nameFrom = at;
    while (at < end && text.charCodeAt(at) !== EQUALS && text.charCodeAt(at) !== COMMA) at++;
    const name = text.slice(nameFrom, at).trim();
    if (at >= end || text.charCodeAt(at) === COMMA) {
      attributes.push({ name, value: '', quoted: false, open: false, from: start + at, to: start + at });
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
    const value = text.slice(from, to);
    attributes.push({ name, value, quoted, open, from: start + from, to: start + to });
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
