import { type AuditEntry, AuditLog, MAX_AGE_MS, MAX_ENTRIES } from '../../audit/audit-log.js';
import { AUDIT_KEY } from './keys.js';
import { type RedisLink, allOf } from './link.js';

/**
 * The layout of an entry: `1` and its JSON. To change it, see CONTRIBUTING.md. A set makes `append` idempotent, because
 * an entry that is sent again is the same member.
 */
const LAYOUT = '1';
/** How many entries one command reads: about 120 KB. */
const PAGE = 200;

/** The audit of all instances. Each command is complete in itself: between two of them there are a few entries too many. */
export class RedisAuditLog extends AuditLog {
  private warned = false;

  constructor(
    private readonly link: RedisLink,
    private readonly log: { warn(message: string): void },
  ) {
    super();
  }

  override async append(entry: AuditEntry): Promise<void> {
    const at = Date.parse(entry.at);
    await allOf([
      this.link.zadd(AUDIT_KEY, at, LAYOUT + JSON.stringify(entry)),
      this.link.ztrim(AUDIT_KEY, { most: MAX_ENTRIES, min: at - MAX_AGE_MS }),
    ]);
  }

  override async *read({ since, until }: { since: number; until: number }): AsyncGenerator<AuditEntry> {
    // An entry that is added meanwhile moves the others, so that the next page begins with some of this one.
    const seen = new Set<string>();
    for (let offset = 0; ; offset += PAGE) {
      const page = await this.link.zrangeFromHighest(AUDIT_KEY, { min: since, max: until }, offset, PAGE);
      for (const text of page) {
        const entry = seen.has(text) ? undefined : this.entryOf(text);
        seen.add(text);
        if (entry !== undefined) yield entry;
      }
      if (page.length < PAGE) return;
    }
  }

  /** Undefined for an entry of a later release, or that another program wrote. */
  private entryOf(text: string): AuditEntry | undefined {
    try {
      if (text.startsWith(LAYOUT)) return JSON.parse(text.slice(LAYOUT.length)) as AuditEntry;
    } catch {
      // It is reported below.
    }
    if (!this.warned)
      this.log.warn('Redis holds entries of the audit that this release cannot read; they are left out');
    this.warned = true;
    return undefined;
  }
}
