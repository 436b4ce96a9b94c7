import { setImmediate } from 'node:timers/promises';

/**
 * Steps in which a text of megabytes is handled so that other requests are served in between. Memory that is used for the
 * first time costs most: joining 5 MB at once may take 20 ms.
 */

/** Bytes that are copied in one turn of the event loop. */
const BYTES_A_TURN = 262_144;

/** The pieces one behind the other. Waits for other work after each quarter of a megabyte. */
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

/** The text of these bytes. A long one is decoded in a turn of its own. */
export async function decodeInTurns(pieces: readonly Uint8Array[]): Promise<string> {
  const bytes = await joinInTurns(pieces);
  if (bytes.length <= BYTES_A_TURN) return bytes.toString('utf8');
  await setImmediate();
  const text = bytes.toString('utf8');
  await setImmediate();
  return text;
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
