import { type Clock } from '../../clock.js';
import {
  type Change,
  type EndReason,
  type HeldRecord,
  type Keeping,
  type Policy,
  type SessionRecord,
  ALL_SESSIONS,
  admit,
  confirm,
  end,
  expire,
  expiresAt,
  graceAfterOutage,
  keepAlive,
  latestQuota,
  live,
  noteActivity,
  withdraw,
} from '../admission.js';
import { EVENT_TYPE_OF_CHANGE, KeptRefusals, MAX_HOLDERS } from '../session-events.js';
import {
  type EndResult,
  type Ledger,
  type Pause,
  SessionRepository,
  type SweepOptions,
  type SweepResult,
  type UserSessions,
} from '../session.repository.js';
import {
  type Admission,
  type AdmissionRequest,
  type KeepAlive,
  type Place,
  type Session,
  admitted,
  toKeptSession,
  toSession,
} from '../session.js';
import { type MemoryEventLog } from './memory-event-log.js';

/**
 * The embedded store: the rule itself on a Map, in one process; its data is lost when the process stops. Each method is
 * atomic because it does not await. A sweep visits every user, which takes about a millisecond per 10,000 users.
 */
export class MemorySessionRepository extends SessionRepository {
  private readonly users = new Map<string, readonly SessionRecord[]>();
  /** The issuer's names of the users who have records, where they differ from the ids. */
  private readonly subjects = new Map<string, string>();
  private readonly counts: Record<Change['type'], number> = {
    admitted: 0,
    started: 0,
    moved: 0,
    ended: 0,
    expired: 0,
    undone: 0,
  };
  private lastSweepAt: number | undefined;
  private graceUntil = 0;
  private pause: Pause | undefined;
  private readonly keptRefusals = new KeptRefusals();

  constructor(
    private readonly policy: Policy,
    private readonly clock: Clock,
    private readonly events: MemoryEventLog,
  ) {
    super();
  }

  override async admit({ userId, subject, ...ask }: AdmissionRequest): Promise<Admission> {
    const now = this.now();
    const decision = admit(this.recordsOf(userId), ask, this.policy, now);
    switch (decision.outcome) {
      case 'session-ended':
      case 'phase-not-found':
        return decision;
      case 'too-far-ahead':
        return { ...decision, now };
      case 'limit-reached': {
        const { sessionId, streamId, device } = ask;
        const sessions = this.show(userId, decision.holders, now);
        const instants = { startedAt: 0, lastActivityAt: now, playsUntil: now };
        const refused = { sessionId, streamId, ...instants, phase: 0, device, version: 0 };
        const refusal = this.keptRefusals.isNew({ userId, ...ask }, now)
          ? { limit: ask.quota.maxSessions, device, holders: sessions.slice(0, MAX_HOLDERS) }
          : undefined;
        const reason = 'session-limit-reached';
        this.events.record('session.refused', now, { userId, subject }, refused, reason, undefined, refusal);
        return { outcome: 'limit-reached', sessions, now, retryAt: decision.retryAt };
      }
      case 'admitted':
        if (subject !== undefined) this.subjects.set(userId, subject);
        this.keep(userId, decision, now);
        return admitted(userId, this.policy, now, decision);
    }
  }

  override async confirm(place: Place): Promise<boolean> {
    this.keep(place.userId, confirm(this.recordsOf(place.userId), place), this.now());
    const own = this.recordsOf(place.userId).find(({ sessionId }) => sessionId === place.sessionId);
    return own?.status === 'permanent' && own.startedAt === place.startedAt;
  }

  override async withdraw(place: Place): Promise<void> {
    this.keep(place.userId, withdraw(this.recordsOf(place.userId), place), this.now());
  }

  override async keepAlive(userId: string, sessionId: string): Promise<KeepAlive> {
    const now = this.now();
    return this.kept(userId, sessionId, keepAlive(this.recordsOf(userId), sessionId, this.policy, now), now);
  }

  override async noteActivity(userId: string, sessionId: string, at: number): Promise<KeepAlive> {
    const now = this.now();
    const keeping = noteActivity(this.recordsOf(userId), sessionId, at, this.policy, now);
    return this.kept(userId, sessionId, keeping, now);
  }

  private kept(userId: string, sessionId: string, keeping: Keeping, now: number): KeepAlive {
    if (keeping.outcome === 'session-ended') this.noteEnded(userId, [sessionId]);
    if (keeping.outcome !== 'kept') return keeping;
    this.keep(userId, { records: keeping.records, changes: [] }, now);
    return { outcome: 'kept', session: toKeptSession(userId, keeping.record, this.policy, now) };
  }

  override async list(userId: string): Promise<UserSessions> {
    const now = this.now();
    const records = live(this.recordsOf(userId), this.policy, now);
    return {
      quota: latestQuota(records),
      subject: this.subjects.get(userId),
      sessions: this.show(userId, records, now),
    };
  }

  override async end(
    userId: string,
    sessionIds: readonly string[] | typeof ALL_SESSIONS,
    reason: EndReason,
  ): Promise<EndResult> {
    const now = this.now();
    const ending = end(this.recordsOf(userId), sessionIds, reason, this.policy, now);
    this.keep(userId, ending, now);
    this.noteEnded(userId, sessionIds);
    return { ended: this.show(userId, ending.ended, now), endedBefore: ending.endedBefore };
  }

  override async expireIdle({ maxSessions }: SweepOptions): Promise<SweepResult> {
    const now = this.now();
    const paused = this.pauseAt(now) !== undefined;
    this.graceUntil = graceAfterOutage(this.lastSweepAt, this.graceUntil, this.policy, now);
    this.lastSweepAt = now;
    const latenessMs: number[] = [];
    if (paused) return { expired: 0, latenessMs, more: true, paused };
    for (const [userId, records] of this.users) {
      const due = expire(records, this.policy, now);
      if (due.records.length === records.length) continue;
      if (now < this.graceUntil || latenessMs.length >= maxSessions)
        return { expired: latenessMs.length, latenessMs, more: true, paused };
      for (const { type, record } of due.changes)
        if (type === 'expired') latenessMs.push(now - expiresAt(record, this.policy));
      this.keep(userId, due, now);
    }
    return { expired: latenessMs.length, latenessMs, more: false, paused };
  }

  override async pauseExpiry({ by, until }: Parameters<SessionRepository['pauseExpiry']>[0]): Promise<Pause> {
    const now = this.now();
    this.pause = { since: this.pauseAt(now)?.since ?? now, by, until };
    return this.pause;
  }

  override async resumeExpiry(): Promise<boolean> {
    this.pause = undefined;
    return true;
  }

  override async expiryPause(): Promise<Pause | undefined> {
    return this.pauseAt(this.now());
  }

  override async ledger(): Promise<Ledger> {
    const { expired, ended, undone } = this.counts;
    return { admitted: this.counts.admitted, expired, ended, undone, unreadable: 0 };
  }

  override async check(): Promise<'ok'> {
    return 'ok';
  }

  override async mayEvict(): Promise<boolean> {
    return false;
  }

  private now(): number {
    return this.clock.storeNow() ?? this.clock.now();
  }

  private pauseAt(now: number): Pause | undefined {
    return this.pause?.until !== undefined && this.pause.until <= now ? undefined : this.pause;
  }

  private recordsOf(userId: string): readonly SessionRecord[] {
    return this.users.get(userId) ?? [];
  }

  private keep(
    userId: string,
    { records, changes }: { records: readonly SessionRecord[]; changes: readonly Change[] },
    now: number,
  ): void {
    const subject = this.subjects.get(userId);
    if (records.length > 0) this.users.set(userId, records);
    else {
      this.users.delete(userId);
      this.subjects.delete(userId);
    }
    for (const { type, record, reason, replacedBy } of changes) {
      this.counts[type]++;
      const eventType = EVENT_TYPE_OF_CHANGE[type];
      if (eventType) this.events.record(eventType, now, { userId, subject }, record, reason, replacedBy);
    }
  }

  private show(userId: string, records: readonly HeldRecord[], now: number): Session[] {
    return records.map((record) => toSession(userId, record, this.policy, now));
  }
}
