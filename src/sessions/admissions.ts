import { randomUUIDv7 } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Injectable, Logger } from '@nestjs/common';
import { type Admission, type AdmissionRequest, type Place } from './session.js';
import { SessionRepository } from './session.repository.js';

/** Together less than a lease, after which there is nothing left to confirm. */
const RETRY_AFTER_MS = [100, 400, 1_000, 2_000];

/** Takes a place for a phase on its way, and sees to it that the place is kept only if the phase arrived. */
@Injectable()
export class Admissions {
  private readonly log = new Logger(Admissions.name);

  constructor(private readonly repository: SessionRepository) {}

  /** A session without an id gets one, ordered by time. */
  async admit(
    request: Omit<AdmissionRequest, 'sessionId'> & { sessionId: string | undefined },
  ): Promise<Admission> {
    return this.repository.admit({ ...request, sessionId: request.sessionId ?? randomUUIDv7() });
  }

  /**
   * Call it once for each admission, before the reply is sent. Never rejects: the reply is out by then. A store that
   * is away for longer than the retries costs a new session its place when the lease lapses. Both verbs may be
   * repeated: each does nothing the second time. What is not a phase does not `confirm`: the place stays as it is.
   */
  async settle(place: Place, delivered: Promise<boolean>, { confirms = true } = {}): Promise<void> {
    const arrived = await delivered;
    if (arrived && (!place.reserved || !confirms)) return;
    const verb = arrived ? 'confirm' : 'withdraw';
    for (const delayMs of [...RETRY_AFTER_MS, undefined]) {
      try {
        await this.repository[verb](place);
        return;
      } catch (error) {
        if (delayMs !== undefined) await sleep(delayMs, undefined, { ref: false });
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
