import { setImmediate as nextTurn } from 'node:timers/promises';
import { type Redis } from 'ioredis';

/** It may also run when the memory of Redis is full, because the value never grows. */
const SMALL_WRITE = "#!lua flags=allow-oom\nreturn redis.call('SET', KEYS[1], '')";

/** A server process, by the id that it draws when it starts. Rejects if the process did not tell it. */
type ServerProcess = Promise<string | undefined>;

/**
 * Waits until a replica of a server has what the server has written (docs/decisions/0041-replicated-admissions.md).
 *
 * WAIT delays all later commands of its connection, so it has a connection of its own, and renewals never wait. WAIT is
 * only about earlier writes of its own connection, so a small write precedes it. The replica gets all writes in one
 * order, so whoever has the small write has all earlier ones of that server process. One WAIT serves all calls that
 * arrived during the previous WAIT.
 */
export class ReplicaWait {
  private readonly connection: Redis;
  private readonly writing: () => ServerProcess;
  private readonly waiting: () => ServerProcess;
  private latest: ServerProcess = Promise.resolve(undefined);
  private next: ServerProcess | undefined;

  /** `patienceMs`: how long a call may take. It may have to wait for the previous WAIT, and then for its own. */
  constructor(
    redis: Redis,
    private readonly patienceMs: number,
  ) {
    // It queues commands until it is connected. Outages are logged by the connection for commands.
    this.connection = redis.duplicate({ enableOfflineQueue: true });
    this.connection.on('error', () => undefined);
    this.writing = processOf(redis);
    this.waiting = processOf(this.connection);
  }

  /** The process that wrote what a reply says. Call this before the event loop's next turn after that reply. */
  writer(): ServerProcess {
    return this.writing();
  }

  /**
   * Resolves to whether a replica has all that `writer` had written before this call. It does not resolve to true if the
   * WAIT was answered by another process: after a failover, the new primary may lack the write. `key` is for the small
   * write.
   */
  async covers(writer: ServerProcess, key: string): Promise<boolean> {
    const [process, waited] = await Promise.all([writer, (this.next ??= this.queue(key))]);
    return process !== undefined && process === waited;
  }

  close(): void {
    this.connection.disconnect();
  }

  private async queue(key: string): ServerProcess {
    await this.latest.catch(() => undefined);
    // Replies that arrived together become one WAIT.
    await nextTurn();
    this.next = undefined;
    this.latest = this.wait(key);
    return this.latest;
  }

  /** The process that a replica has caught up with; undefined if none has in time. */
  private async wait(key: string): ServerProcess {
    const [, replicas] = await Promise.all([
      this.connection.eval(SMALL_WRITE, 1, key),
      this.connection.wait(1, Math.ceil(this.patienceMs / 2)),
    ]);
    return replicas > 0 ? this.waiting() : undefined;
  }
}

/**
 * Asks for the process as soon as a connection is ready. The result tells it for the current connection; if the answer did
 * not come in time, it asks again.
 */
function processOf(redis: Redis): () => ServerProcess {
  let current: ServerProcess = Promise.resolve(undefined);
  let failed = false;
  const ask = (): void => {
    failed = false;
    const asked = redis.info('server').then((text) => /^run_id:(\w+)/m.exec(text)?.[1]);
    current = asked;
    asked.catch(() => {
      failed ||= current === asked;
    });
  };
  redis.on('ready', ask);
  return () => {
    if (failed) ask();
    return current;
  };
}
