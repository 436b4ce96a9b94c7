import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { type Socket, connect } from 'node:net';
import { fileURLToPath } from 'node:url';
import { type Asked, type Check } from './load.mts';

/** How many connections are open from the start. A request that finds none free opens another. */
const CONNECTIONS = 32;

/** The messages to and from the process that sends the requests: the order, and one reply with its milliseconds each. */
interface Order {
  readonly url: string;
  readonly bodies: readonly string[];
  readonly perSecond: number;
  readonly count: number;
}
interface Outcome {
  readonly replies: readonly string[];
  readonly millis: readonly number[];
}

let asking: ChildProcess | undefined;

/**
 * Sends requests at a constant rate for a time, whether or not earlier requests were answered. A server that stalls must
 * not slow the requests down, or its worst moments would be measured least. Returns the milliseconds from the sending of
 * each request to the end of its answer. Throws if an answer was wrong.
 *
 * A process of its own sends the requests, and leaves nearly no garbage. This process pauses for up to 50 ms when it
 * collects its own garbage, and that would be the figure.
 */
export async function pace(
  url: string,
  asked: readonly Asked[],
  perSecond: number,
  seconds: number,
  check: Check,
): Promise<number[]> {
  asking ??= startAsking();
  const bodies = asked.map((one) => JSON.stringify(one));
  asking.send({ url, bodies, perSecond, count: Math.round(perSecond * seconds) } satisfies Order);
  const [{ replies, millis }] = (await once(asking, 'message')) as [Outcome];
  for (const [at, reply] of replies.entries()) {
    const what = asked[at % asked.length]!;
    const [head, body] = reply.split('\r\n\r\n', 2) as [string, string];
    const fault = check(what, Number(head.slice('HTTP/1.1 '.length, 'HTTP/1.1 200'.length)), body);
    if (fault !== undefined) throw new Error(`${fault} for ${JSON.stringify(what)}: ${body}`);
  }
  return [...millis];
}

function startAsking(): ChildProcess {
  const child = fork(fileURLToPath(import.meta.url), ['asks'], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    serialization: 'advanced',
  });
  // If the process exits, nothing else would end the wait for its message.
  child.once('exit', () => {
    throw new Error('the process that asks has ended');
  });
  child.unref();
  child.channel!.unref();
  return child;
}

/** A minimal HTTP/1.1 client. It relies on the Content-Length that all replies of this service have. */
class Connection {
  private readonly socket: Socket;
  private parts: Buffer[] = [];
  /** Bytes of the reply that have not arrived yet; 0 for a reply that has not begun. */
  private missing = 0;
  private sentAt = 0;
  private done: ((reply: Buffer[], millis: number) => void) | undefined;
  private readonly free: Connection[];

  constructor({ hostname, port }: URL, free: Connection[]) {
    this.free = free;
    this.socket = connect(Number(port), hostname).setNoDelay(true);
    this.socket.on('data', (bytes: Buffer) => {
      this.take(bytes);
    });
  }

  ask(request: string, done: (reply: Buffer[], millis: number) => void): void {
    this.done = done;
    this.sentAt = performance.now();
    this.socket.write(request);
  }

  close(): void {
    this.socket.destroy();
  }

  private take(bytes: Buffer): void {
    if (this.missing === 0) {
      const head = bytes.indexOf('\r\n\r\n');
      const [, length] = /^content-length: (\d+)/im.exec(bytes.toString('latin1', 0, head)) ?? [];
      if (length === undefined)
        throw new Error(`a reply without a length: ${bytes.toString('latin1', 0, 200)}`);
      this.missing = head + 4 + Number(length);
      this.parts = [];
    }
    this.parts.push(bytes);
    this.missing -= bytes.length;
    if (this.missing > 0) return;
    this.done!(this.parts, performance.now() - this.sentAt);
    this.free.push(this);
  }
}

async function carryOut({ url, bodies, perSecond, count }: Order): Promise<Outcome> {
  const target = new URL(url);
  const requests = bodies.map(
    (body) =>
      `POST /v1/phases HTTP/1.1\r\nHost: ${target.host}\r\nContent-Type: application/json\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
  const free: Connection[] = [];
  const connections: Connection[] = [];
  const open = (): Connection => {
    const connection = new Connection(target, free);
    connections.push(connection);
    return connection;
  };
  while (connections.length < CONNECTIONS) free.push(open());
  const replies = Array.from<Buffer[]>({ length: count });
  const millis = Array.from<number>({ length: count });
  let sent = 0;
  let answered = 0;
  await new Promise<void>((resolve) => {
    const started = performance.now();
    const timer = setInterval(() => {
      const due = Math.min(count, Math.floor(((performance.now() - started) / 1_000) * perSecond));
      for (; sent < due; sent++) {
        const at = sent;
        (free.shift() ?? open()).ask(requests[at % requests.length]!, (reply, took) => {
          replies[at] = reply;
          millis[at] = took;
          if (++answered === count) resolve();
        });
      }
      if (sent === count) clearInterval(timer);
    }, 1);
  });
  for (const connection of connections) connection.close();
  return { replies: replies.map((parts) => Buffer.concat(parts).toString()), millis };
}

if (process.argv[2] === 'asks') {
  process.on('message', (order: Order) => {
    void carryOut(order).then((outcome) => process.send!(outcome));
  });
  process.once('disconnect', () => process.exit());
}
