import { once } from 'node:events';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { Catalogue } from '../../src/streams/catalogue.js';
import { MediaUrls } from '../../src/streams/media-urls.js';
import { HeldOrigin } from '../support/held-origin.js';
import { type StoreName, STORES, useService } from '../support/service.js';

/** Sends a request and returns the socket, so that the test can close it before the reply. */
async function askAndHold(port: number, body: object): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  await once(socket, 'connect');
  writeRequest(socket, body);
  return socket;
}

function writeRequest(socket: Socket, body: object): void {
  const json = JSON.stringify(body);
  socket.write(
    `POST /v1/phases HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${json.length}\r\n\r\n${json}`,
  );
}

describe.each(STORES)('delivery decides, on %s', (store: StoreName) => {
  const origin = new HeldOrigin();
  beforeAll(() => origin.start());
  afterAll(() => origin.stop());
  const service = useService(store, () => ({ STREAM_ORIGIN: origin.template }));
  const port = (): number => (service.app.getHttpServer().address() as AddressInfo).port;
  /** The service's ends of its connections, by the port of the client's end. */
  const connections = new Map<number, Socket>();
  beforeAll(() => {
    service.app
      .getHttpServer()
      .on('connection', (socket: Socket) => connections.set(socket.remotePort!, socket));
  });
  /** Closes a connection; resolves when the service has noticed it. */
  const breakOff = async (socket: Socket): Promise<void> => {
    const gone = once(connections.get(socket.localPort!)!, 'close');
    socket.destroy();
    await gone;
  };

  /** Resolves when the store has handled the result of the next delivery. */
  const settled = (): Promise<'confirm' | 'withdraw'> =>
    new Promise((resolve) => {
      for (const verb of ['confirm', 'withdraw'] as const) {
        const original = service.sessions[verb].bind(service.sessions);
        jest.spyOn(service.sessions, verb).mockImplementationOnce(async (place) => {
          await original(place);
          resolve(verb);
        });
      }
    });
  /** Sends a request, and closes the connection between the decision and the reply. */
  const breakOffAfterAdmission = async (body: object): Promise<void> => {
    const admit = service.sessions.admit.bind(service.sessions);
    const client = Promise.withResolvers<Socket>();
    jest.spyOn(service.sessions, 'admit').mockImplementationOnce(async (request) => {
      const admission = await admit(request);
      await breakOff(await client.promise);
      return admission;
    });
    const undone = settled();
    client.resolve(await askAndHold(port(), body));
    expect(await undone).toBe('withdraw');
  };
  afterEach(() => jest.restoreAllMocks());

  it('a session becomes permanent when its first reply is written completely', async () => {
    const confirmed = settled();
    const reply = await service.ask({ user_id: 'whole', session_id: 'tv', stream_id: 'film' });
    expect(reply.status).toBe(201);
    expect(await confirmed).toBe('confirm');
    service.clock.advance(29_999);
    expect((await service.sessions.list('whole')).sessions).toHaveLength(1);
  });

  it('a client that disconnects leaves no new session', async () => {
    await breakOffAfterAdmission({ user_id: 'new', session_id: 'tv', stream_id: 'film' });
    expect((await service.sessions.list('new')).sessions).toEqual([]);
  });

  it('a client that disconnects leaves its running session unchanged', async () => {
    await service.ask({ user_id: 'running', session_id: 'tv', stream_id: 'film', phase: 2 });
    const before = (await service.sessions.list('running')).sessions;
    service.clock.advance(5_000);
    await breakOffAfterAdmission({ user_id: 'running', session_id: 'tv', stream_id: 'other', phase: 1 });
    expect((await service.sessions.list('running')).sessions).toEqual(before);
    const next = await service.ask({ user_id: 'running', session_id: 'tv', stream_id: 'film' });
    expect(next.body.phase.index).toBe(3);
  });

  it('a phase that cannot be issued leaves no session, although the error is delivered', async () => {
    await service.ask({ user_id: 'unlucky', session_id: 'tv', stream_id: 'film' });
    const before = (await service.sessions.list('unlucky')).sessions;
    service.clock.advance(1_000);
    for (const session_id of ['tv', 'phone']) {
      const undone = settled();
      jest.spyOn(service.app.get(MediaUrls), 'issue').mockImplementationOnce(() => {
        throw new Error('no signature');
      });
      const { status } = await fetch(`http://127.0.0.1:${port()}/v1/phases`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ user_id: 'unlucky', session_id, stream_id: 'film' }),
      });
      expect([status, await undone]).toEqual([500, 'withdraw']);
    }
    expect((await service.sessions.list('unlucky')).sessions).toEqual(before);
  });

  it('a client that pipelines requests and disconnects leaves no session', async () => {
    const held = origin.hold('queue');
    const socket = await askAndHold(port(), { user_id: 'queue', session_id: 'a', stream_id: 'queue' });
    const release = await held;
    const admit = jest.spyOn(service.sessions, 'admit');
    writeRequest(socket, { user_id: 'queue', session_id: 'b', stream_id: 'film' });
    // A request on another connection is answered, because only requests on one connection wait for each other.
    await service.ask({ user_id: 'another', session_id: 'tv', stream_id: 'film' });
    await breakOff(socket);
    release();
    await service.ask({ user_id: 'another', session_id: 'tv', stream_id: 'queue' });
    expect(admit.mock.calls.map(([{ userId }]) => userId)).toEqual(['another', 'another']);
    expect((await service.sessions.list('queue')).sessions).toEqual([]);
  });

  it('a client that disconnects during the read of the origin takes no place', async () => {
    const held = origin.hold('slow');
    const admit = jest.spyOn(service.sessions, 'admit');
    const socket = await askAndHold(port(), { user_id: 'early', session_id: 'tv', stream_id: 'slow' });
    const release = await held;
    await breakOff(socket);
    release();
    // The next request for the stream waits for the same read, so that the first one is finished by then.
    const reply = await service.ask({ user_id: 'early', session_id: 'phone', stream_id: 'slow' });
    expect([reply.status, reply.body.sessions.live]).toEqual([201, 1]);
    expect(admit).toHaveBeenCalledTimes(1);
  });

  it.each([
    ['answers 500', 502, 'origin-unavailable'],
    ['sends something else', 502, 'origin-unavailable'],
    ['hangs up', 502, 'origin-unavailable'],
    ['redirects', 502, 'origin-unavailable'],
    ['answers 404', 404, 'stream-not-found'],
  ])('an origin that %s creates, renews and ends nothing', async (fault, status, code) => {
    const user_id = fault.replaceAll(' ', '-');
    await service.ask({ user_id, session_id: 'tv', stream_id: 'film' });
    const before = (await service.sessions.list(user_id)).sessions;
    service.clock.advance(1_000);
    const stream_id = `fault.${user_id}`;
    for (const body of [{ session_id: 'tv' }, { session_id: 'phone', end_session_ids: ['tv'] }, {}]) {
      const reply = await service.ask({ user_id, stream_id, ...body });
      expect([reply.status, reply.body.code]).toEqual([status, code]);
    }
    expect((await service.sessions.list(user_id)).sessions).toEqual(before);
  });

  it('reports origin-unavailable for every rendition of a failing origin', async () => {
    const body = { user_id: 'chooser', stream_id: 'fault.answers-500', rendition: 1 };
    expect((await service.ask(body)).body).toMatchObject({ status: 502, code: 'origin-unavailable' });
    expect((await service.ask({ ...body, stream_id: 'fault.answers-404' })).status).toBe(404);
  });

  it('times out after 5 s if the origin does not answer, and takes no place', async () => {
    const user_id = 'patient';
    void origin.hold('silent');
    const started = performance.now();
    const reply = await service.ask({ user_id, stream_id: 'silent' });
    expect([reply.status, reply.body.code]).toEqual([502, 'origin-unavailable']);
    expect(performance.now() - started).toBeGreaterThan(4_900);
    expect((await service.sessions.list(user_id)).sessions).toEqual([]);
  });

  it('reports the limit and an ended session before a problem of the stream', async () => {
    for (const session_id of ['a', 'b', 'c'])
      await service.ask({ user_id: 'order', session_id, stream_id: 'film' });
    const stream_id = 'fault.answers-500';
    expect((await service.ask({ user_id: 'order', session_id: 'd', stream_id })).status).toBe(409);
    await service.send('delete', '/v1/users/order/sessions/c');
    expect((await service.ask({ user_id: 'order', session_id: 'c', stream_id })).status).toBe(410);
    expect((await service.ask({ user_id: 'order', session_id: 'd', stream_id })).status).toBe(502);
  });

  it('lists the streams that were read so far, if the origin cannot list', async () => {
    await service.ask({ user_id: 'lister', stream_id: 'film' });
    const asked = origin.requestsFor('film');
    const { body } = await service.send('get', '/v1/streams');
    expect(body.streams).toContainEqual({
      stream_id: 'film',
      kind: 'vod',
      duration_seconds: 50,
      phase_seconds: 10,
      phases: 5,
    });
    expect(body.streams.map((one: { stream_id: string }) => one.stream_id)).not.toContain(
      'fault.answers-500',
    );
    expect(origin.requestsFor('film')).toBe(asked);
  });

  it('sorts the streams again only after a new one was read', async () => {
    const streams = service.app.get(Catalogue);
    const before = await streams.list();
    await service.ask({ user_id: 'lister', stream_id: 'film' });
    expect(await streams.list()).toBe(before);
    await service.ask({ user_id: 'lister', stream_id: 'a-new-one' });
    expect((await streams.list())!.map(({ streamId }) => streamId)).toEqual(
      ['a-new-one', ...before!.map(({ streamId }) => streamId)].toSorted(),
    );
    const { body } = await service.send('get', '/v1/streams');
    expect(body.streams[0].stream_id).toBe('a-new-one');
  });

  it('reads the origin once for concurrent requests', async () => {
    const held = origin.hold('popular');
    const asked = Promise.all(
      Array.from({ length: 20 }, (_, n) => service.ask({ user_id: `fan-${n}`, stream_id: 'popular' })),
    );
    (await held)();
    expect((await asked).map(({ status }) => status)).toEqual(Array.from({ length: 20 }, () => 201));
    expect(origin.requestsFor('popular')).toBe(1);
  });
});
