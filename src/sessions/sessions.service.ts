import { randomUUIDv7 } from 'node:crypto';
import { Injectable, Logger } from '@nestjs/common';
import { type Admission, type AdmissionRequest, type Place } from './session.js';
import { SessionRepository } from './session.repository.js';

/** Takes a place for a phase on its way, and sees to it that the place is kept only if the phase arrived. */
@Injectable()
export class SessionsService {
  private readonly log = new Logger(SessionsService.name);

  constructor(private readonly repository: SessionRepository) {}

  /** A session without an id gets one, ordered by time. */
  async admit(
    request: Omit<AdmissionRequest, 'sessionId'> & { sessionId: string | undefined },
  ): Promise<Admission> {
    const sessionId = request.sessionId ?? randomUUIDv7();
    const admission = await this.repository.admit({ ...request, sessionId });
    if (admission.outcome === 'admitted' && admission.expired.length > 0)
      this.log.debug({ sessions: admission.expired, msg: 'expired to make room' });
    return admission;
  }

  /**
   * Call it once for each admission, before the reply is sent. Never rejects: the reply is out by then, and a store
   * that fails now costs a new session its place when the lease lapses, and a running one nothing.
   */
  async settle(place: Place, delivered: Promise<boolean>): Promise<void> {
    const arrived = await delivered;
    if (arrived && !place.reserved) return;
    try {
      await (arrived ? this.repository.confirm(place) : this.repository.withdraw(place));
    } catch (err) {
      this.log.warn({
        err,
        session_id: place.sessionId,
        msg: arrived ? 'confirm failed' : 'withdraw failed',
      });
    }
  }
}
