import { type LongText } from '../../http/long-texts.js';
import { NumberRows } from '../number-rows.js';
import { Texts } from './texts.js';

/** Characters of a chunk that a long playlist is written in. */
const CHUNK_LENGTH = 65_536;

/** In the place of the number of a segment: another name of ours, and other text. */
const ASSET = -1;
const NO_NAME = -2;

/** The columns of cuts. */
const FROM = 0;
const TO = 1;
const BY = 2;
const BY_LENGTH = 3;
const NUMBER = 4;

/** A place in a text where something else stands when the playlist is written. */
interface Cut {
  readonly from: number;
  readonly to: number;
  readonly by: string;
  /**
   * Of the segment that the text names, and stands in front of it, so that all names of a run share one text; or ASSET or
   * NO_NAME. Names get the folder and the query around them.
   */
  readonly number: number;
}

/** Cuts in their order. */
class CutList {
  private rows = new NumberRows(5);
  private texts = new Texts();

  get length(): number {
    return this.rows.length;
  }

  get(index: number): Cut {
    const { rows } = this;
    return {
      from: rows.get(index, FROM),
      to: rows.get(index, TO),
      by: this.texts.get(rows.get(index, BY), rows.get(index, BY_LENGTH)),
      number: rows.get(index, NUMBER),
    };
  }

  add({ from, to, by, number }: Cut): void {
    const { rows } = this;
    rows.push(from, to, this.texts.push(by), by.length, number);
    // Nearly all come in order. The value of a tag may be known only when its segment is.
    for (let at = rows.length - 1; at > 0 && rows.get(at - 1, FROM) > rows.get(at, FROM); at--)
      rows.swap(at - 1, at);
  }

  /**
   * The cuts from one up to another, which are the first ones behind a segment each, in a text where they stand `further`
   * characters further on.
   */
  slice(start: number, end: number, further: number): CutList {
    const cuts = new CutList();
    const { texts, dropped } = this.texts.from(start === 0 ? 0 : this.rows.get(start - 1, BY));
    cuts.texts = texts;
    cuts.rows = this.rows.slice(start, end, [
      [FROM, further],
      [TO, further],
      [BY, -dropped],
    ]);
    return cuts;
  }

  seal(): void {
    this.texts.seal();
  }
}

/** All cuts of a text: those of its head, and those that are shared with an earlier text, with new ones behind them. */
class Cuts {
  private head = new CutList();
  private body = this.head;

  get length(): number {
    return this.body === this.head ? this.head.length : this.head.length + this.body.length;
  }

  *[Symbol.iterator](): Generator<Cut, void> {
    for (const list of new Set([this.head, this.body]))
      for (let index = 0; index < list.length; index++) yield list.get(index);
  }

  add(cut: Cut): void {
    this.body.add(cut);
  }

  /** Adds those of an earlier text from one up to another, which are behind its head. */
  goOn({ head, body }: Cuts, start: number, end: number, further: number): void {
    this.head.seal();
    const before = body === head ? 0 : head.length;
    this.body = body.slice(start - before, end - before, further);
  }

  seal(): void {
    this.body.seal();
  }
}

/** The text of a playlist with its URIs taken out. */
export class Template {
  constructor(
    readonly text: LongText,
    readonly cuts: Cuts,
  ) {
    cuts.seal();
  }

  /** `before` and `after` go around every name: the folder that it is in, and the query. */
  write(before: string, after: string): string {
    let written = '';
    for (const chunk of this.chunks(before, after)) written += chunk;
    return written;
  }

  /** As `write`, in pieces of about 64 KB: a playlist of 100,000 segments must not hold up other requests. */
  *chunks(before: string, after: string): Generator<string, void> {
    let rest = 0;
    let chunk = '';
    for (const { from, to, by, number } of this.cuts) {
      chunk += this.text.slice(rest, from);
      if (number === NO_NAME) chunk += by;
      else chunk += before + (number === ASSET ? by : number + by) + after;
      rest = to;
      if (chunk.length < CHUNK_LENGTH) continue;
      yield chunk;
      chunk = '';
    }
    yield chunk + this.text.slice(rest);
  }
}

/** Collects the cuts of a text. */
export class TemplateBuilder {
  readonly cuts = new Cuts();

  /** Puts a name of ours in the place of a URI: of a segment its media sequence number and the rest. */
  name(from: number, to: number, by: string, sequence = ASSET): void {
    this.cuts.add({ from, to, by, number: sequence });
  }

  /** Puts other text in the place of a URI or a value. */
  replace(from: number, to: number, by: string): void {
    this.cuts.add({ from, to, by, number: NO_NAME });
  }

  leaveOut(from: number, to: number): void {
    this.replace(from, to, '');
  }

  /**
   * Takes over the cuts of an earlier text from one up to another. They stand `further` characters further on in this one.
   */
  takeOver({ cuts }: Template, start: number, end: number, further: number): void {
    this.cuts.goOn(cuts, start, end, further);
  }
}
