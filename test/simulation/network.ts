import { type Server } from 'node:http';
import { Duplex } from 'node:stream';
import { Dispatcher } from 'undici';
import { currentNotes } from '../../src/http/request-notes.js';
import { Network } from '../../src/network.js';
import { type SessionRepository, StoreUnavailableError } from '../../src/sessions/session.repository.js';
import { type World } from './world.js';

/** How long a client waits for a reply. */
const PATIENCE_MS = 10_000;
/** The longest way of a request, of a reply, or of a call of the store. */
const LONGEST_WAY_MS = 800;
/** After its reply, or after the store took it, a request has its place settled within this time. */
export const SETTLED_MS = 4 * LONGEST_WAY_MS;
/** The calls of the store that take time and that an outage breaks. */
const STORE_CALLS: ReadonlySet<string | symbol> = new Set([
  'admit',
  'confirm',
  'withdraw',
  'keepAlive',
  'list',
  'end',
  'expireIdle',
  'pauseExpiry',
  'resumeExpiry',
  'expiryPause',
]);

/**
 * What happens to a request. `lost`: it never arrives. `before`: the connection breaks within the request. `asked`: it
 * breaks some milliseconds after the request arrived. `during`: it breaks within the reply. `after`: the service hands over
 * the whole reply, and the client gets nothing. `slow`: the client takes the reply late.
 */
type Fate = 'lost' | 'before' | 'asked' | 'during' | 'after' | 'slow' | 'whole';
const BROKEN: readonly Fate[] = ['lost', 'before', 'asked', 'asked', 'during', 'during', 'after', 'after'];
const BREAKS = 0.03;
const SLOW = 0.01;

export interface Sent {
  readonly method: string;
  readonly path: string;
  readonly token: string;
  readonly body?: object | undefined;
}

interface Received {
  readonly status: number;
  readonly json: unknown;
}

export interface Exchange {
  /** The id of the request, by which `takenAt` knows it. */
  readonly id: string;
  /** What the client got; undefined if it did not get the whole reply. */
  readonly reply: Received | undefined;
  /** What the service handed over, whole. */
  readonly delivered: Received | undefined;
}

/** A callback as it arrived at the receiver. */
export interface Arrival {
  /** The webhook-id. */
  readonly id: string;
  /** Whether the service learned that the receiver took it. */
  acknowledged: boolean;
  readonly event: {
    readonly type: string;
    readonly timestamp: string;
    readonly data: Readonly<Record<string, unknown>>;
  };
}

/** A period, in Unix milliseconds. */
export interface Outage {
  readonly from: number;
  readonly to: number;
}

/** The connections of clients to the service, of the service to its store, and to the receiver of callbacks. */
export class SimulatedNetwork extends Network {
  /** The HTTP server of the service. */
  server: Server | undefined;
  /** The store behind the simulated way. */
  store: SessionRepository | undefined;
  readonly arrivals: Arrival[] = [];
  readonly storeOutages: Outage[] = [];
  readonly receiverOutages: Outage[] = [];
  /** When the store took each request, by its id: in an outage or after its client left, it may not have been taken. */
  readonly takenAt = new Map<string, number>();
  /** Which of the two the store took first for the place of a request, and when. */
  readonly settled = new Map<string, { readonly verb: 'confirm' | 'withdraw'; readonly at: number }>();
  /** The requests that the store did not answer. */
  readonly unanswered = new Set<string>();
  private requests = 0;
  private readonly open = new Map<string, Connection>();

  constructor(private readonly world: World) {
    super();
  }

  /** Sends a request on a connection of its own. */
  async exchange(sent: Sent): Promise<Exchange> {
    const { world } = this;
    const { dice } = world;
    const id = `r${this.requests++}`;
    const fate = dice.happens(BREAKS) ? dice.of(BROKEN) : dice.happens(SLOW) ? 'slow' : 'whole';
    const bytes = bytesOf(sent, id);
    if (fate === 'lost') {
      await world.sleep(PATIENCE_MS);
      return { id, reply: undefined, delivered: undefined };
    }
    await world.sleep(this.wayMs());
    const connection = new Connection(world, id, fate, () => this.wayMs());
    this.open.set(id, connection);
    connection.once('close', () => this.open.delete(id));
    this.server!.emit('connection', connection);
    if (fate === 'before') {
      connection.push(bytes.subarray(0, dice.below(bytes.length)));
      world.later(this.wayMs(), () => connection.destroy());
    } else {
      world.working.add(id);
      connection.push(bytes);
      if (fate === 'asked') world.later(dice.below(40), () => connection.destroy());
    }
    const impatient = world.later(PATIENCE_MS, () => connection.destroy());
    const delivered = await connection.delivered;
    impatient();
    if (delivered === undefined) return { id, reply: undefined, delivered };
    await world.sleep(this.wayMs());
    return { id, reply: fate === 'after' ? undefined : delivered, delivered };
  }

  override toStore(repository: SessionRepository): SessionRepository {
    this.store = repository;
    return new Proxy(repository, {
      get: (store, name) => {
        const value: unknown = Reflect.get(store, name);
        if (typeof value !== 'function') return value;
        return STORE_CALLS.has(name)
          ? async (...given: unknown[]) =>
              this.callStore(name, async () => value.apply(store, given) as unknown)
          : value.bind(store);
      },
    });
  }

  override dispatcher(): Dispatcher {
    return new SimulatedReceiver(this.world, this.arrivals, this.receiverOutages, () => this.wayMs());
  }

  private async callStore(name: string | symbol, act: () => Promise<unknown>): Promise<unknown> {
    const { world } = this;
    const isSettling = name === 'confirm' || name === 'withdraw';
    const id = currentNotes()?.reqId;
    // A reply is sent by the time its place is settled.
    const request = isSettling ? undefined : id;
    if (request !== undefined) world.working.delete(request);
    await world.sleep(this.wayMs());
    const isAway = (): boolean => isDuring(this.storeOutages, world.now());
    // In an outage a call may take effect without an answer.
    const isTaken = !isAway() || world.dice.happens(0.3);
    if (isTaken && request !== undefined) this.takenAt.set(request, world.now());
    if (isTaken && isSettling && !this.settled.has(id!))
      this.settled.set(id!, { verb: name, at: world.now() });
    const result = isTaken ? await act() : undefined;
    const wasAway = isAway();
    await world.sleep(this.wayMs());
    if (request !== undefined && this.open.has(request)) world.working.add(request);
    if (wasAway || isAway()) {
      if (request !== undefined) this.unanswered.add(request);
      throw new StoreUnavailableError('simulated outage', { away: true, announced: true });
    }
    return result;
  }

  /** How long something is under way: mostly some milliseconds. */
  private wayMs(): number {
    const { dice } = this.world;
    if (dice.happens(0.01)) return dice.below(LONGEST_WAY_MS);
    return dice.happens(0.1) ? dice.below(100) : dice.below(8);
  }
}

export function isDuring(outages: readonly Outage[], from: number, to = from): boolean {
  return outages.some((outage) => outage.from <= to && from <= outage.to);
}

/** The connection of one request, as the HTTP server of Node sees it. */
class Connection extends Duplex {
  readonly remoteAddress = '192.0.2.1';
  /** The reply when the service has handed over all of it; undefined if the connection breaks first. */
  readonly delivered: Promise<Received | undefined>;
  private readonly deliver: (reply: Received | undefined) => void;
  private text = '';

  constructor(
    private readonly world: World,
    private readonly id: string,
    private readonly fate: Fate,
    private readonly wayMs: () => number,
  ) {
    super();
    const { promise, resolve } = Promise.withResolvers<Received | undefined>();
    [this.delivered, this.deliver] = [promise, resolve];
  }

  override _read(): void {
    // `exchange` pushes what the client sends.
  }

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.world.working.delete(this.id);
    this.text += chunk.toString();
    if (this.fate === 'during') this.world.later(this.wayMs(), () => this.destroy());
    else if (this.fate === 'slow') this.world.later(this.world.dice.below(2 * LONGEST_WAY_MS), done);
    else done();
  }

  override _final(done: () => void): void {
    this.deliver(received(this.text));
    this.push(null);
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.world.working.delete(this.id);
    this.deliver(undefined);
    done(error);
  }
}

function bytesOf({ method, path, token, body }: Sent, id: string): Buffer {
  const text = body === undefined ? '' : JSON.stringify(body);
  const head = [
    `${method} ${path} HTTP/1.1`,
    'host: service.example',
    'connection: close',
    `authorization: Bearer ${token}`,
    `x-request-id: ${id}`,
    ...(body === undefined
      ? []
      : ['content-type: application/json', `content-length: ${Buffer.byteLength(text)}`]),
  ];
  return Buffer.from(`${head.join('\r\n')}\r\n\r\n${text}`);
}

function received(text: string): Received {
  const [head = '', body = ''] = text.split('\r\n\r\n');
  return { status: Number(head.split(' ')[1]), json: body === '' ? undefined : JSON.parse(body) };
}

const CONTROLLER = { aborted: false, paused: false, reason: null, abort() {}, pause() {}, resume() {} };

/** A receiver of callbacks that refuses some, and whose answers get lost now and then. */
class SimulatedReceiver extends Dispatcher {
  constructor(
    private readonly world: World,
    private readonly arrivals: Arrival[],
    private readonly outages: readonly Outage[],
    private readonly wayMs: () => number,
  ) {
    super();
  }

  override dispatch(
    { headers, body }: Dispatcher.DispatchOptions,
    handler: Dispatcher.DispatchHandler,
  ): boolean {
    const { world } = this;
    const { dice } = world;
    const fail = (): void => handler.onResponseError?.(CONTROLLER, new Error('the connection broke'));
    handler.onRequestStart?.(CONTROLLER, {});
    world.later(this.wayMs(), () => {
      if (dice.happens(0.01)) return fail();
      const id = (headers as Record<string, string>)['webhook-id']!;
      const arrival: Arrival = { id, acknowledged: false, event: JSON.parse(body as string) };
      this.arrivals.push(arrival);
      const status = isDuring(this.outages, world.now())
        ? 500
        : dice.happens(0.97)
          ? 204
          : dice.of([500, 503]);
      const isLost = dice.happens(0.01);
      world.later(this.wayMs(), () => {
        if (isLost) return fail();
        arrival.acknowledged = status === 204;
        handler.onResponseStart?.(CONTROLLER, status, status === 503 ? { 'retry-after': '2' } : {}, '');
        handler.onResponseEnd?.(CONTROLLER, {});
      });
    });
    return true;
  }
}
