export interface StoredRecord {
  readonly status: 'reserved' | 'permanent' | 'ended';
  /** Unix milliseconds. */
  readonly lastActivityAt: number;
}

const STATUSES = [undefined, 'reserved', 'permanent', 'ended'] as const;

/** The records of one user in the layout of record.lua, decoded by code independent of the code that wrote them. */
export function readStoredRecords(value: Buffer): StoredRecord[] {
  const records: StoredRecord[] = [];
  for (let at = 0; at < value.length;) {
    const status = STATUSES[value[at + 16]! >> 6];
    if (status === undefined) throw new Error(`no record: ${value.toString('hex')}`);
    records.push({ status, lastActivityAt: Date.UTC(2020) + value.readUIntBE(at + 5, 5) });
    const idLength = value[at + 20]!;
    at += 22 + idLength + value[at + 21 + idLength]!;
  }
  return records;
}
