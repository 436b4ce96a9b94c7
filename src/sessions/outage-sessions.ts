import { LRUCache } from 'lru-cache';
import { type Clock } from '../clock.js';
import { ALL_SESSIONS, type HeldRecord, type Policy, admit, idleAt } from './admission.js';
import { type Admission, type AdmissionRequest, type Admitted, type Session, admitted } from './session.js';

/** About 500 bytes for each session. The users with the oldest activity are forgotten first, and get 503 in an outage. */
const MAX_USERS = 100_000;

interface KnownSession {
  readonly record: HeldRecord;
  readonly live: number;
  /** When the place becomes free, as the store said last. An outage never moves it. */
  readonly heldUntil: number;
  /** The clock of the store when it answered. */
  readonly storeAt: number;
  /** The monotonic clock of this process when it asked: no later, so that no place is kept for longer than promised. */
  readonly askedAt: number;
  /** Whether it was continued without the store since the store was last asked. */
  readonly isDegraded: boolean;
}

/**
 * Continues sessions while the store is away (STORE_DOWN_POLICY=open). Only sessions that the store admitted through this
 * instance continue, by the same rule, and only as long as their place is promised to them already: until `expires_at` of
 * the last answer of the store that reached the client. What such a session receives would be played at most X after that
 * instant. A new session needs the store, because other instances may have given the places of the user away.
 *
 * Sessions that this instance knows to be ended do not continue, and never more of a user than the limit.
 */
export class OutageSessions {
  private readonly users = new LRUCache<string, Map<string, KnownSession>>({ max: MAX_USERS });

  constructor(
    private readonly policy: Policy,
    private readonly clock: Clock,
  ) {}

  /** Remembers a session as the store answered. `askedAt`: the monotonic clock when the store was asked. */
  remember(request: AdmissionRequest, { session, live, place }: Admitted, askedAt: number): void {
    const { sessionId, streamId, startedAt, lastActivityAt, playsUntil, phase, device, expiresAt } = session;
    const known = this.users.get(request.userId) ?? new Map<string, KnownSession>();
    const former = known.get(sessionId);
    // Replies can be delivered in another order than the store answered.
    if (former?.record.startedAt === startedAt && former.askedAt > askedAt) return;
    const record: HeldRecord = {
      status: 'permanent',
      sessionId,
      streamId,
      startedAt,
      lastActivityAt,
      playsUntil,
      phase,
      device,
      ahead: 0,
      run: 1,
      quota: request.quota,
      client: request.client,
      version: place.version,
      pausedMs: 0,
    };
    known.set(sessionId, {
      record,
      live,
      heldUntil: expiresAt,
      storeAt: lastActivityAt,
      askedAt,
      isDegraded: false,
    });
    const longAgo = this.clock.monotonic() - this.policy.expireAfterMs;
    for (const [id, one] of known) if (!this.isHeld(one) && one.askedAt < longAgo) known.delete(id);
    this.users.set(request.userId, known);
  }

  /** These sessions are ended or refused. Returns whether one was continued without the store before. */
  forget(userId: string, sessionIds: readonly string[] | typeof ALL_SESSIONS): boolean {
    const known = this.users.peek(userId);
    if (known === undefined) return false;
    const ids = sessionIds === ALL_SESSIONS ? [...known.keys()] : sessionIds;
    const wasContinued = ids.some((id) => known.get(id)?.isDegraded === true);
    // A reply that is still on its way must not bring it back, so that it is kept as one that holds nothing.
    const over = { heldUntil: -Infinity, askedAt: this.clock.monotonic(), isDegraded: false };
    for (const id of ids) {
      const one = known.get(id);
      if (one) known.set(id, { ...one, ...over });
    }
    return wasContinued;
  }

  /** A new session may have taken the place of one of the same device, or of an idle one of the same client. */
  forgetReplaced({ userId, sessionId, device, client }: AdmissionRequest): void {
    const known = this.users.peek(userId) ?? [];
    const former = [...known].filter(([id, one]) => {
      const { record } = one;
      if (id === sessionId) return false;
      if (device !== undefined && device.id === record.device?.id)
        return !device.shared && !record.device.shared;
      return (
        client !== undefined && client === record.client && idleAt(record, this.policy) <= this.nowOf(one)
      );
    });
    this.forget(
      userId,
      former.map(([id]) => id),
    );
  }

  /** Answers without the store. Undefined if this session cannot be continued without it. */
  admit(request: AdmissionRequest): Admission | undefined {
    const known = this.users.get(request.userId);
    const own = known?.get(request.sessionId);
    // Only the store can end sessions of the same user in one step with an admission.
    if (known === undefined || own === undefined || request.endSessionIds.length > 0) return undefined;
    const { record, live, heldUntil } = own;
    const latest = [...known.values()]
      .filter((one) => this.isHeld(one))
      .toSorted((a, b) => b.askedAt - a.askedAt)
      .slice(0, record.quota.maxSessions);
    if (!latest.includes(own)) return undefined;
    const now = this.nowOf(own);
    const decision = admit([record], request, this.policy, now);
    if (decision.outcome === 'too-far-ahead') return { ...decision, now };
    if (decision.outcome === 'phase-not-found') return decision;
    if (decision.outcome !== 'admitted') return undefined;
    if (decision.record.playsUntil > heldUntil + this.policy.idleAfterMs) return undefined;
    known.set(request.sessionId, { ...own, record: decision.record, isDegraded: true });
    const admission = admitted(request.userId, this.policy, now, { ...decision, live });
    return { ...admission, session: promised(admission.session, heldUntil), degraded: true };
  }

  /** The clock of the store, as this session knows it, in whole milliseconds. Rounded up: no place is kept too long. */
  private nowOf({ storeAt, askedAt }: KnownSession): number {
    return storeAt + Math.ceil(this.clock.monotonic() - askedAt);
  }

  private isHeld(one: KnownSession): boolean {
    return this.nowOf(one) < one.heldUntil;
  }
}

/** The session with instants that the store has promised. */
function promised(session: Session, heldUntil: number): Session {
  return {
    ...session,
    idleAt: Math.min(session.idleAt, heldUntil),
    expiresAt: Math.min(session.expiresAt, heldUntil),
  };
}
