import { LongList } from '../long-list.js';

/** Characters of a chunk that a long playlist is written in. */
const CHUNK_LENGTH = 65_536;

/** In the place of the number of a segment: another name of ours, and other text. */
const ASSET = -1;
const NO_NAME = -2;

/**
 * The places in a text where something else stands when the playlist is written, in order. They are kept as lists of
 * numbers, because collecting 100,000 objects as garbage holds up other requests.
 */
class Cuts {
  private readonly froms = new LongList<number>();
  private readonly tos = new LongList<number>();
  private readonly texts = new LongList<string>();
  private readonly numbers = new LongList<number>();

  get length(): number {
    return this.froms.length;
  }

  /**
   * `number`: of the segment that the text names, and stands in front of it, so that all names of a run share one text;
   * or ASSET or NO_NAME. Names get the folder and the query around them.
   */
  get(index: number): readonly [from: number, to: number, by: string, number: number] {
    return [this.froms.get(index)!, this.tos.get(index)!, this.texts.get(index)!, this.numbers.get(index)!];
  }

  add(...cut: ReturnType<Cuts['get']>): void {
    this.put(this.length, cut);
    // Nearly all come in order. The value of a tag may be known only when its segment is.
    for (let at = this.length - 1; at > 0 && this.froms.get(at - 1)! > cut[0]; at--) {
      this.put(at, this.get(at - 1));
      this.put(at - 1, cut);
    }
  }

  private put(index: number, [from, to, by, number]: ReturnType<Cuts['get']>): void {
    this.froms.put(index, from);
    this.tos.put(index, to);
    this.texts.put(index, by);
    this.numbers.put(index, number);
  }
}

/** The text of a playlist with its URIs taken out. */
export class Template {
  /** Of the text, without what goes around the names, in characters. */
  readonly length: number;
  readonly cuts: Cuts;

  constructor(
    readonly text: string,
    { cuts, added }: Pick<TemplateBuilder, 'cuts' | 'added'>,
  ) {
    this.cuts = cuts;
    this.length = text.length + added;
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
    for (let cut = 0; cut < this.cuts.length; cut++) {
      const [from, to, by, number] = this.cuts.get(cut);
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
  /** How many characters the text grows by. */
  added = 0;

  /** Puts a name of ours in the place of a URI: of a segment its media sequence number and the rest. */
  name(from: number, to: number, by: string, sequence = ASSET): void {
    this.add(from, to, by, sequence);
    if (sequence !== ASSET) this.added += String(sequence).length;
  }

  /** Puts other text in the place of a URI or a value. */
  replace(from: number, to: number, by: string): void {
    this.add(from, to, by, NO_NAME);
  }

  leaveOut(from: number, to: number): void {
    this.replace(from, to, '');
  }

  /** Takes over a cut of an earlier text that stands `further` characters further on in this one. */
  takeOver({ cuts }: Template, index: number, further: number): void {
    const [from, to, by, number] = cuts.get(index);
    if (number === NO_NAME) this.replace(from + further, to + further, by);
    else this.name(from + further, to + further, by, number);
  }

  private add(from: number, to: number, by: string, number: number): void {
    this.cuts.add(from, to, by, number);
    this.added += by.length - (to - from);
  }
}
