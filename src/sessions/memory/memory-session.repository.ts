import { type Clock } from '../../clock.js';
import {
  type EndReason,
  type HeldRecord,
  type Policy,
  type SessionRecord,
  ALL_SESSIONS,
  admit,
  confirm,
  end,
  expire,
  live,
  withdraw,
} from '../admission.js';
import { type EndResult, type ExpireResult, SessionRepository } from '../session.repository.js';
import {
  type Admission,
  type AdmissionRequest,
  type Place,
  type Session,
  admitted,
  toSession,
} from '../session.js';

/**
 * The embedded store: the rule itself on a Map, for one process and for as long as it runs. Atomic because nothing
 * in here awaits. Its sweep looks at every user, which a single process can afford: about a millisecond per 10,000.
 */
export class MemorySessionRepository extends SessionRepository {
  private readonly users = new Map<string, readonly SessionRecord[]>();

  constructor(
    private readonly policy: Policy,
    private readonly clock: Clock,
  ) {
    super();
  }

  override async admit({ userId, ...ask }: AdmissionRequest): Promise<Admission> {
    const now = this.now();
    const decision = admit(this.recordsOf(userId), ask, this.policy, now);
    switch (decision.outcome) {
      case 'session-ended':
      case 'phase-not-found':
        return decision;
      case 'limit-reached':
        return {
          outcome: 'limit-reached',
          sessions: this.show(userId, decision.holders, now),
          now,
          retryAt: decision.retryAt,
        };
      case 'admitted':
        this.keep(userId, decision.records);
        return admitted(userId, this.policy, now, decision);
    }
  }

  override async confirm(place: Place): Promise<void> {
    this.keep(place.userId, confirm(this.recordsOf(place.userId), place));
  }

  override async withdraw(place: Place): Promise<void> {
    this.keep(place.userId, withdraw(this.recordsOf(place.userId), place));
  }

  override async list(userId: string): Promise<Session[]> {
    const now = this.now();
    return this.show(userId, live(this.recordsOf(userId), this.policy, now), now);
  }

  override async end(
    userId: string,
    sessionIds: readonly string[] | typeof ALL_SESSIONS,
    reason: EndReason,
  ): Promise<EndResult> {
    const now = this.now();
    const ending = end(this.recordsOf(userId), sessionIds, reason, this.policy, now);
    this.keep(userId, ending.records);
    return { ended: this.show(userId, ending.ended, now), endedBefore: ending.endedBefore };
  }

  override async expireIdle({ maxSessions }: { maxSessions: number }): Promise<ExpireResult> {
    const now = this.now();
    const expired: Session[] = [];
    for (const [userId, records] of this.users) {
      if (expired.length >= maxSessions) return { expired, more: true };
      const due = expire(records, this.policy, now);
      if (due.records.length < records.length) this.keep(userId, due.records);
      expired.push(...this.show(userId, due.expired, now));
    }
    return { expired, more: false };
  }

  override async ping(): Promise<void> {}

  private now(): number {
    return this.clock.storeNow() ?? this.clock.now();
  }

  private recordsOf(userId: string): readonly SessionRecord[] {
    return this.users.get(userId) ?? [];
  }

  private keep(userId: string, records: readonly SessionRecord[]): void {
    if (records.length === 0) this.users.delete(userId);
    else this.users.set(userId, records);
  }

  private show(userId: string, records: readonly HeldRecord[], now: number): Session[] {
    return records.map((record) => toSession(userId, record, this.policy, now));
  }
}
