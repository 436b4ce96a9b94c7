import { randomUUIDv7 } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Injectable, Logger } from '@nestjs/common';
import { type Admission, type AdmissionRequest, type Place } from './session.js';
import { SessionRepository } from './session.repository.js';

/** Together less than a lease, after which there is nothing left to confirm. */
const RETRY_AFTER_MS = [100, 400, 1_000, 2_000];

/** A request for a phase. A session without an id is a new one. */
export interface PhaseRequest extends Omit<AdmissionRequest, 'sessionId'> {
  readonly sessionId: string | undefined;
}

/** The reply that carries what was asked for. */
export interface Delivery {
  /** Starts to watch the reply; resolves to true when the client received it whole, to false when it did not. */
  readonly arrives: () => Promise<boolean>;
  /** Whether the reply is media. A playlist is not: it leaves the place of a new session as it is, to lapse. */
  readonly isMedia: boolean;
}

/**
 * The one way in, for the API and for the gate: takes a place for a reply on its way, and keeps the place only if the
 * reply arrives.
 */
@Injectable()
export class Admissions {
  private readonly log = new Logger(Admissions.name);

  constructor(private readonly repository: SessionRepository) {}

  /**
   * Asks the store, and watches the reply from the admission on. So whatever the caller does next is covered: if issuing
   * the media throws, the reply is an error, and the place is given back. A new session gets an id that is ordered by
   * time. Rejects with StoreUnavailableError.
   */
  async admit(request: PhaseRequest, delivery: Delivery): Promise<Admission> {
    const admission = await this.repository.admit({
      ...request,
      sessionId: request.sessionId ?? randomUUIDv7(),
    });
    if (admission.outcome === 'admitted') void this.settle(admission.place, delivery);
    return admission;
  }

  /**
   * Never rejects: the reply is out by then. If the store is away for longer than the retries, a new session loses its
   * place when the lease lapses. Both verbs may be repeated: each does nothing the second time.
   */
  private async settle(place: Place, { arrives, isMedia }: Delivery): Promise<void> {
    const arrived = await arrives();
    if (arrived && (!place.reserved || !isMedia)) return;
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
