import { type AuditEntry, AuditLog, MAX_AGE_MS, MAX_ENTRIES } from '../../audit/audit-log.js';

/** The audit of the embedded store. It is lost when the process stops. */
export class MemoryAuditLog extends AuditLog {
  /** By id, oldest first. */
  private readonly entries = new Map<string, AuditEntry>();

  override async append(entry: AuditEntry): Promise<void> {
    this.entries.set(entry.id, entry);
    const tooOld = Date.parse(entry.at) - MAX_AGE_MS;
    for (const { id, at } of this.entries.values()) {
      if (this.entries.size <= MAX_ENTRIES && Date.parse(at) >= tooOld) break;
      this.entries.delete(id);
    }
  }

  override async *read({ since, until }: { since: number; until: number }): AsyncGenerator<AuditEntry> {
    for (const entry of [...this.entries.values()].toReversed()) {
      const at = Date.parse(entry.at);
      if (at >= since && at <= until) yield entry;
    }
  }
}
