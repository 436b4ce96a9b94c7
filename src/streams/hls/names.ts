/**
 * What the gate calls a segment: its media sequence number and a check of its file name, such as `1419-k3j9x.ts`. An
 * encoder that restarts uses numbers again for other media; by the check a name of an earlier playlist leads to the
 * media that it stood for, or to none, on every instance.
 *
 * The check leaves out the one number in the file name that counts with the sequence, so it is the same on every line
 * and costs nothing once the playlist is compressed. It leaves out folders and queries, because origins put tokens there
 * that change with each reload.
 */

const LARGEST_NUMBER = 9_007_199_254_740_991;

export class SegmentNames {
  private former: { readonly pieces: readonly string[]; readonly sequence: number } | undefined;
  /** What stands around the counter, how far that is from the sequence, and the rest of the name that follows from it. */
  private pattern = { before: '', after: '', distance: NaN, rest: '' };

  /** What follows the number in the name of a segment, by the path that it has at the origin; one text for a whole run. */
  rest(sequence: number, path: string): string {
    const file = fileNameOf(path);
    if (!this.goesOn(file, sequence)) {
      const pieces = piecesOf(path);
      const counter = this.chooseCounter(pieces, sequence);
      this.former = { pieces, sequence };
      this.pattern = {
        before: pieces.slice(0, Math.max(0, counter)).join(''),
        after: pieces.slice(counter + 1).join(''),
        distance: counter < 0 ? NaN : distance(pieces[counter]!, sequence),
        rest: `-${check(pieces, counter, sequence)}${extensionOf(path)}`,
      };
    }
    return this.pattern.rest;
  }

  /** Whether the file name differs from the one before in the counter alone. */
  private goesOn(file: string, sequence: number): boolean {
    const { before, after, distance: expected } = this.pattern;
    if (Number.isNaN(expected) || !file.startsWith(before) || !file.endsWith(after)) return false;
    const number = file.slice(before.length, file.length - after.length);
    return /^\d{1,19}$/.test(number) && distance(number, sequence) === expected;
  }

  private chooseCounter(pieces: readonly string[], sequence: number): number {
    for (let at = 1; at < pieces.length; at += 2)
      if (this.former !== undefined && this.countsAt(at, pieces, sequence)) return at;
    for (let at = pieces.length - 2; at > 0; at -= 2) if (distance(pieces[at]!, sequence) === 0) return at;
    return pieces.length - 2;
  }

  private countsAt(counter: number, pieces: readonly string[], sequence: number): boolean {
    const { former } = this;
    return (
      former?.pieces.length === pieces.length &&
      pieces.every((piece, at) =>
        at === counter
          ? distance(piece, sequence) === distance(former.pieces[at]!, former.sequence)
          : piece === former.pieces[at],
      )
    );
  }
}

/** The media sequence number that a name begins with; undefined for a name of something else. */
export function sequenceOf(name: string): number | undefined {
  const number = /^(\d{1,16})(-[a-z0-9]{1,7})?(\.[a-z0-9]{1,8})?$/i.exec(name)?.[1];
  return number === undefined || Number(number) > LARGEST_NUMBER ? undefined : Number(number);
}

/** Whether a name stands for the segment at this path. A name without a check stands for any. */
export function isNameOf(name: string, sequence: number, path: string): boolean {
  const checked = /^\d+-([a-z0-9]+)/i.exec(name)?.[1];
  if (checked === undefined) return true;
  const pieces = piecesOf(path);
  for (let counter = -1; counter < pieces.length; counter += 2)
    if (check(pieces, counter, sequence) === checked) return true;
  return false;
}

/** The extension of a file: players judge by it what they are given. */
export function extensionOf(path: string): string {
  return /\.[a-z0-9]{1,8}$/i.exec(path.split('?', 1)[0]!)?.[0] ?? '';
}

/** The last part of a path. */
export function fileNameOf(path: string): string {
  const query = path.indexOf('?');
  const end = query < 0 ? path.length : query;
  return path.slice(path.lastIndexOf('/', end - 1) + 1, end);
}

/** Text and numbers in turn: the numbers have the odd places. */
function piecesOf(path: string): readonly string[] {
  return fileNameOf(path).split(/(\d{1,19})/);
}

function distance(number: string, sequence: number): number {
  return Number(number) - sequence;
}

/** FNV-1a: it tells restarts apart and guards nothing, since a name opens no more than the session may have. */
function check(pieces: readonly string[], counter: number, sequence: number): string {
  let hash = 0x811c9dc5;
  for (const [at, piece] of pieces.entries()) {
    const counted = at === counter ? `#${distance(piece, sequence)}` : piece;
    for (let index = 0; index < counted.length; index++)
      hash = Math.imul(hash ^ counted.charCodeAt(index), 0x01000193);
  }
  return (hash >>> 0).toString(36);
}
