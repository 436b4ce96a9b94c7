import { setImmediate } from 'node:timers/promises';

/**
 * Steps in which a text of megabytes is handled so that other requests are served in between. Memory that is used for the
 * first time costs most: joining 5 MB at once may take 20 ms.
 */

/** Bytes that are copied in one turn of the event loop. */
const BYTES_A_TURN = 131_072;

/** The pieces one behind the other. Waits for other work after each eighth of a megabyte. */
export async function joinInTurns(pieces: readonly Uint8Array[]): Promise<Buffer> {
  const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
  if (length <= BYTES_A_TURN) return Buffer.concat(pieces, length);
  const joined = Buffer.allocUnsafeSlow(length);
  let at = 0;
  for (const piece of pieces)
    for (let from = 0; from < piece.length; from += BYTES_A_TURN) {
      const part = piece.subarray(from, from + BYTES_A_TURN);
      joined.set(part, at);
      const turn = Math.floor(at / BYTES_A_TURN);
      at += part.length;
      if (Math.floor(at / BYTES_A_TURN) > turn) await setImmediate();
    }
  return joined;
}

/**
 * A text in pieces of about an eighth of a megabyte, each of which ends with a line. In one piece, the memory for 8 MB alone
 * takes 10 to 30 ms.
 */
export class LongText {
  readonly length: number;
  /** Where each piece starts. */
  private readonly starts: readonly number[];
  /** The piece that was asked for last: most readers go on from there. */
  private recent = 0;

  constructor(readonly pieces: readonly string[]) {
    let length = 0;
    this.starts = pieces.map((piece) => {
      length += piece.length;
      return length - piece.length;
    });
    this.length = length;
  }

  /** The piece that a position is in, or the last one, and where that starts. */
  pieceAt(position: number): { readonly piece: string; readonly start: number } {
    const { starts } = this;
    while (this.recent > 0 && starts[this.recent]! > position) this.recent--;
    while (this.recent + 1 < starts.length && starts[this.recent + 1]! <= position) this.recent++;
    return { piece: this.pieces[this.recent] ?? '', start: starts[this.recent] ?? 0 };
  }

  slice(from: number, to = this.length): string {
    let sliced = '';
    const end = Math.min(to, this.length);
    for (let at = from; at < end;) {
      const { piece, start } = this.pieceAt(at);
      sliced += piece.slice(at - start, end - start);
      at = start + piece.length;
    }
    return sliced;
  }

  /** The text from a position on. */
  from(position: number): LongText {
    const { piece, start } = this.pieceAt(position);
    const behind = this.pieces.slice(this.recent + 1);
    return position === 0 ? this : new LongText([piece.slice(position - start), ...behind]);
  }

  equals({ length, pieces }: LongText): boolean {
    return this.length === length && this.pieces.every((piece, at) => piece === pieces[at]);
  }

  toString(): string {
    return this.pieces.join('');
  }
}

/** The text of these bytes. Each piece of it is decoded in a turn of its own. */
export async function decodeInTurns(chunks: readonly Uint8Array[]): Promise<LongText> {
  const bytes = await joinInTurns(chunks);
  const pieces: string[] = [];
  for (let from = 0; from < bytes.length;) {
    if (pieces.length > 0) await setImmediate();
    const line = bytes.indexOf('\n', from + BYTES_A_TURN);
    const end = line < 0 ? bytes.length : line + 1;
    pieces.push(bytes.toString('utf8', from, end));
    from = end;
  }
  return new LongText(pieces);
}

/** The chunks as bytes, each of them encoded in a turn of its own. */
export async function encodeInTurns(chunks: Iterable<string>): Promise<readonly Buffer[]> {
  const pieces: Buffer[] = [];
  for (const chunk of chunks) {
    if (pieces.length > 0) await setImmediate();
    pieces.push(Buffer.from(chunk));
  }
  return pieces;
}
