import { LongList } from '../long-list.js';

/** Characters of a chunk that a long playlist is written in. */
const CHUNK_LENGTH = 65_536;

/** A place in a text where something else stands when the playlist is written. */
interface Cut {
  readonly from: number;
  readonly to: number;
  readonly by: string;
  /** A name of ours, which gets the folder and the query around it; other text is written as it is. */
  readonly named: boolean;
}

/** The text of a playlist with its URIs taken out. */
export class Template {
  /** Of the text, without what goes around the names, in characters. */
  readonly length: number;
  readonly cuts: LongList<Cut>;

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
    for (const { from, to, by, named } of this.cuts) {
      chunk += this.text.slice(rest, from);
      chunk += named ? before + by + after : by;
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
  readonly cuts = new LongList<Cut>();
  /** How many characters the text grows by. */
  added = 0;

  /** Puts a name of ours in the place of a URI. */
  name(from: number, to: number, by: string): void {
    this.add({ from, to, by, named: true });
  }

  /** Puts other text in the place of a URI or a value. */
  replace(from: number, to: number, by: string): void {
    this.add({ from, to, by, named: false });
  }

  leaveOut(from: number, to: number): void {
    this.replace(from, to, '');
  }

  /** Takes over a cut of an earlier text that stands `further` characters further on in this one. */
  shift({ from, to, by, named }: Cut, further: number): void {
    this.add({ from: from + further, to: to + further, by, named });
  }

  private add(cut: Cut): void {
    this.cuts.push(cut);
    // Nearly all come in order. The value of a tag may be known only when its segment is.
    for (let at = this.cuts.length - 1; at > 0 && this.cuts.get(at - 1)!.from > cut.from; at--) {
      this.cuts.set(at, this.cuts.get(at - 1)!);
      this.cuts.set(at - 1, cut);
    }
    this.added += cut.by.length - (cut.to - cut.from);
  }
}
