import { LRUCache } from 'lru-cache';
import { type Clock } from '../clock.js';
import { type HeldRecord, type Policy, admit } from './admission.js';
import { type Admission, type AdmissionRequest, type Admitted, type Session, admitted } from './session.js';

/** About 500 bytes each. The sessions with the oldest activity are forgotten first, and get 503 in an outage. */
const MAX_SESSIONS = 100_000;

interface KnownSession {
  readonly record: HeldRecord;
  readonly live: number;
  /** When the place becomes free, as the store said last. An outage never moves it. */
  readonly heldUntil: number;
  /** The clock of the store and the monotonic clock of this process at the same instant. */
  readonly storeAt: number;
  readonly monotonicAt: number;
  /** Whether it was continued without the store since the store was last asked. */
  readonly isDegraded: boolean;
}

/**
 * Continues sessions while the store is away (STORE_DOWN_POLICY=open). Only sessions that the store admitted through this
 * instance continue, by the same rule, and only as long as their place is promised to them already: until `expires_at` of
 * the last answer of the store. What such a session receives would be played at most X after that instant. A new session
 * needs the store, because other instances may have given the places of the user away.
 */
export class OutageSessions {
  private readonly known = new LRUCache<string, KnownSession>({ max: MAX_SESSIONS });

  constructor(
    private readonly policy: Policy,
    private readonly clock: Clock,
  ) {}

  /** Remembers a session as the store answered. */
  remember(request: AdmissionRequest, { session, live, place }: Admitted): void {
    const key = keyOf(request.userId, session.sessionId);
    const { sessionId, streamId, startedAt, lastActivityAt, playsUntil, phase, device, expiresAt } = session;
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
    this.known.set(key, {
      record,
      live,
      heldUntil: expiresAt,
      storeAt: lastActivityAt,
      isDegraded: false,
      monotonicAt: this.clock.monotonic(),
    });
  }

  /** The session was ended or refused. Returns whether it was continued without the store before. */
  forget(userId: string, sessionId: string): boolean {
    const key = keyOf(userId, sessionId);
    const former = this.known.peek(key);
    this.known.delete(key);
    return former?.isDegraded === true;
  }

  /** Answers without the store. Undefined if this session cannot be continued without it. */
  admit(request: AdmissionRequest): Admission | undefined {
    const key = keyOf(request.userId, request.sessionId);
    const known = this.known.get(key);
    // Only the store can end sessions of the same user in one step with an admission.
    if (known === undefined || request.endSessionIds.length > 0) return undefined;
    const { record, live, heldUntil, storeAt, monotonicAt } = known;
    const now = storeAt + (this.clock.monotonic() - monotonicAt);
    if (now >= heldUntil) return undefined;
    const decision = admit([record], request, this.policy, now);
    if (decision.outcome === 'too-far-ahead') return { ...decision, now };
    if (decision.outcome === 'phase-not-found') return decision;
    if (decision.outcome !== 'admitted') return undefined;
    if (decision.record.playsUntil > heldUntil + this.policy.idleAfterMs) return undefined;
    this.known.set(key, { ...known, record: decision.record, isDegraded: true });
    const admission = admitted(request.userId, this.policy, now, { ...decision, live });
    return { ...admission, session: promised(admission.session, heldUntil), degraded: true };
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

function keyOf(userId: string, sessionId: string): string {
  return `${userId} ${sessionId}`;
}
