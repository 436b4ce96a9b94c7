import { POLICY } from './stores.js';

export interface StoredRecord {
  readonly status: 'reserved' | 'permanent' | 'ended';
  /** When it is due, in Unix milliseconds. */
  readonly dueAt: number;
}

const STATUSES = [undefined, 'reserved', 'permanent', 'ended'] as const;
const EPOCH = Date.UTC(2020);
const { idleAfterMs: X, expireAfterMs, leaseMs } = POLICY;

/** The layout of a value, by its first byte. */
export function layoutOf(value: Buffer): 1 | 2 {
  return value[0]! % 16 === 2 && value[0]! < 0x20 ? 2 : 1;
}

/**
 * Reads the records of one user, in either layout, with the default policy. Independent of the code that wrote them.
 */
export function readStoredRecords(value: Buffer): StoredRecord[] {
  return layoutOf(value) === 2 ? readLayout2(value) : readLayout1(value);
}

function readLayout1(value: Buffer): StoredRecord[] {
  const records: StoredRecord[] = [];
  for (let at = 0; at < value.length;) {
    records.push(recordOf(value[at + 16]! >> 6, value.readUIntBE(at + 5, 5), X));
    at = skipTexts(value, at + 20, 2);
  }
  return records;
}

function readLayout2(value: Buffer): StoredRecord[] {
  const records: StoredRecord[] = [];
  for (let at = value[0] === 2 ? 1 : skipTexts(value, 1, 1); at < value.length;) {
    const playsMs = value.readUIntBE(at + 20, 6) % 2 ** 30;
    records.push(recordOf(value[at]! >> 6, value.readUIntBE(at + 9, 5), playsMs));
    const flags = value[at + 3]! & 7;
    at = skipTexts(value, at + 26, 2);
    if (flags & 1) at += 3;
    if (flags & 2) at = skipTexts(value, at, 1);
    if (flags & 4) at += 2 + value.readUInt16BE(at);
  }
  return records;
}

function recordOf(code: number, activeAt: number, playsMs: number): StoredRecord {
  const status = STATUSES[code];
  if (status === undefined) throw new Error(`no record has the status ${code}`);
  const lasts = status === 'reserved' ? leaseMs : Math.max(X, playsMs) + expireAfterMs - X;
  return { status, dueAt: EPOCH + activeAt + lasts };
}

/** The offset after this number of texts, each of which has its length before it. */
function skipTexts(value: Buffer, from: number, count: number): number {
  let at = from;
  for (let text = 0; text < count; text++) at += 1 + value[at]!;
  return at;
}
