/** Logs once per process that stored values could not be read; the ledger counts them. */
export class UnreadableValues {
  private readonly totals = new Map<number, number>();
  private logged = false;

  constructor(private readonly log: { error(message: string): void }) {}

  /** A sweep of a partition set `now` values aside, and all instances so far `total`. */
  saw(partition: number, now: number, total: number): void {
    const before = this.totals.get(partition) ?? total;
    this.totals.set(partition, total);
    if (now > 0 || total > before) this.met('records');
  }

  met(what: 'records' | 'event' | 'key'): void {
    if (this.logged) return;
    this.logged = true;
    this.log.error(
      what === 'key'
        ? 'Redis holds a key of a wrong type among the keys of this service (sg:*); its sessions are not swept'
        : `Redis holds ${what} that this release cannot read; they are set aside under sg:{…}:q and counted`,
    );
  }
}
