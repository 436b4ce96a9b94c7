import { Agent, type Dispatcher } from 'undici';
import { type SessionRepository } from './sessions/session.repository.js';

/** The ways from this process to the store and to the receivers of callbacks. A simulation puts its own in their place (docs/proof.md). */
export class Network {
  /** Sends requests to one receiver of callbacks, over connections of its own. */
  dispatcher(): Dispatcher {
    return new Agent();
  }

  /** The store, as this process reaches it. */
  toStore(repository: SessionRepository): SessionRepository {
    return repository;
  }
}
