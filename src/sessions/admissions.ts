import { randomUUIDv7 } from 'node:crypto';
import { Logger } from '@nestjs/common';
import { type Decision, noteDecision } from '../http/request-notes.js';
import { type Counter } from 'prom-client';
import { type Clock } from '../clock.js';
import { type Metrics } from '../observability/metrics.js';
import { type OutageSessions } from './outage-sessions.js';
import { type Admission, type AdmissionRequest, type Admitted, MAX_KEPT_SUBJECT_BYTES } from './session.js';
import { type SessionRepository, isAway } from './session.repository.js';

/** Together shorter than a lease, because after the lease there is nothing left to confirm. */
const RETRY_AFTER_MS = [100, 400, 1_000, 2_000];

/** A request for a phase. Without a session id it starts a new session. */
export interface PhaseRequest extends Omit<AdmissionRequest, 'sessionId'> {
  readonly sessionId: string | undefined;
}

/** The reply that delivers the requested phase or playlist. */
export interface Delivery {
  /** Watches the reply; resolves to true if it was delivered completely, and to false if not. */
  readonly arrives: () => Promise<boolean>;
  /** Whether the reply is media. A playlist is not: a new session stays reserved, and its lease lapses. */
  readonly isMedia: boolean;
}

/**
 * Admits requests of the API and of the gate. It takes a place while the reply is on its way, and keeps the place only if
 * the reply is delivered.
 */
export class Admissions {
  private readonly log = new Logger(Admissions.name);
  private readonly inOutage: Counter<'outcome'>;

  /** `outages` continues sessions while the store is away. Without it, a request gets StoreUnavailableError then. */
  constructor(
    private readonly repository: SessionRepository,
    metrics: Metrics,
    private readonly clock: Clock,
    private readonly outages?: OutageSessions,
  ) {
    this.inOutage = metrics.counter(
      'outage_admissions_total',
      'Requests while the store was away: continued, or refused with 503; and lost: sessions that continued during the outage and were refused after it.',
      ['outcome'],
    );
    repository.onEnded((userId, sessionIds) => this.outages?.forget(userId, sessionIds));
  }

  /**
   * Asks the store, and watches the reply from the admission on. If the caller throws afterwards, for example while it
   * issues URLs, the reply is an error and the place is freed. A new session gets an id that is ordered by time. Rejects
   * with StoreUnavailableError.
   */
  async admit(request: PhaseRequest, delivery: Delivery): Promise<Admission> {
    const sessionId = request.sessionId ?? randomUUIDv7();
    const whole = { ...request, sessionId, subject: keptSubject(request.subject) };
    const askedAt = this.clock.monotonic();
    const admission = await this.ask(whole);
    noteAdmission(whole, admission);
    if (admission.outcome === 'admitted' && admission.degraded !== true)
      void this.settle(whole, admission, delivery, askedAt);
    return admission;
  }

  private async ask(request: AdmissionRequest): Promise<Admission> {
    try {
      const admission = await this.repository.admit(request);
      this.noteForOutages(request, admission);
      return admission;
    } catch (error) {
      if (this.outages === undefined || !isAway(error)) throw error;
      const continued = this.outages.admit(request);
      this.inOutage.inc({ outcome: continued === undefined ? 'refused' : 'continued' });
      if (continued === undefined) throw error;
      return continued;
    }
  }

  private noteForOutages(request: AdmissionRequest, admission: Admission): void {
    if (this.outages === undefined) return;
    const { userId, sessionId, endSessionIds } = request;
    if (admission.outcome === 'admitted') {
      this.outages.forget(userId, endSessionIds);
      if (admission.created) this.outages.forgetReplaced(request);
    }
    if (admission.outcome !== 'session-ended' && admission.outcome !== 'limit-reached') return;
    if (this.outages.forget(userId, [sessionId])) this.inOutage.inc({ outcome: 'lost' });
  }

  /**
   * Confirms or withdraws a place. Never rejects, because the reply is sent by then. If the store stays unavailable for
   * longer than the retries, a new session loses its place when its lease lapses. Both verbs are idempotent.
   */
  private async settle(
    request: AdmissionRequest,
    admission: Admitted,
    { arrives, isMedia }: Delivery,
    askedAt: number,
  ): Promise<void> {
    const { place } = admission;
    const arrived = await arrives();
    if (arrived && !place.reserved) this.outages?.remember(request, admission, askedAt);
    if (arrived && (!place.reserved || !isMedia)) return;
    const verb = arrived ? 'confirm' : 'withdraw';
    for (const delayMs of [...RETRY_AFTER_MS, undefined]) {
      try {
        const holds = await this.repository[verb](place);
        if (holds === true) this.outages?.remember(request, admission, askedAt);
        return;
      } catch (error) {
        if (delayMs !== undefined) await this.clock.sleep(delayMs, { ref: false });
        else
          this.log.warn({
            reason: (error as Error).message,
            session_id: place.sessionId,
            msg: `${verb} failed`,
          });
      }
    }
  }
}

/** Notes the answer, from the store or a remembered one, for the log line of the request. */
export function noteAdmission(
  { sessionId, streamId, device, quota }: AdmissionRequest,
  admission: Admission,
): void {
  noteDecision({
    decision: decisionOf(streamId, admission),
    session_id: sessionId,
    stream_id: streamId,
    device_id: device?.id,
    limit: quota.maxSessions,
    live: liveIn(admission),
    degraded: admission.outcome === 'admitted' ? admission.degraded : undefined,
  });
}

function decisionOf(streamId: string, admission: Admission): Decision['decision'] {
  switch (admission.outcome) {
    case 'limit-reached':
      return 'refused';
    case 'session-ended':
      return 'ended';
    case 'too-far-ahead':
    case 'phase-not-found':
      return admission.outcome;
    case 'admitted': {
      const { created, session, place } = admission;
      if (created) return session.startedAt === session.lastActivityAt ? 'admitted' : 'readmitted';
      return place.former !== undefined && place.former.streamId !== streamId ? 'moved' : 'renewed';
    }
  }
}

function liveIn(admission: Admission): number | undefined {
  if (admission.outcome === 'limit-reached') return admission.sessions.length;
  return admission.outcome === 'admitted' ? admission.live : undefined;
}

/** The subject as the store can keep it. OpenID Connect Core (section 2) allows no longer one. */
function keptSubject(subject: string | undefined): string | undefined {
  return subject !== undefined && Buffer.byteLength(subject) <= MAX_KEPT_SUBJECT_BYTES ? subject : undefined;
}
