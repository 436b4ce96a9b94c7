import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { CallbackReceiver } from '../../test/support/callback-receiver.js';
import { until } from '../../test/support/until.js';
import { Clock } from '../clock.js';
import { readConfig } from '../config/config.js';
import { type SessionEvent } from '../sessions/session-events.js';
import { CallbackSender } from './callback-sender.js';

const EVENT: SessionEvent = {
  id: '1-1',
  type: 'session.refused',
  at: 1_767_225_600_000,
  userId: 'ana',
  sessionId: 'tv',
  streamId: 'film',
  version: 0,
  session: undefined,
  reason: 'session-limit-reached',
  replacedBy: undefined,
};
const NEVER = new AbortController().signal;

describe('a callback', () => {
  const receiver = new CallbackReceiver();
  beforeAll(() => receiver.start());
  afterAll(() => receiver.stop());
  beforeEach(() => {
    receiver.deliveries.length = 0;
  });
  afterEach(() => jest.restoreAllMocks());
  const sendTo = (url: string, signal = NEVER) =>
    new CallbackSender(readConfig({ CALLBACK_URL: url }).receivers[0]!, new Clock()).send(EVENT, signal);
  const send = (signal?: AbortSignal) => sendTo(`${receiver.url}/SECRET-PATH?token=SECRET`, signal);
  /** The outcome of a failed delivery, whose text contains nothing that the receiver sent. */
  const failed = (failure: string, retryAfterMs = 0, asks = 'retry') => ({
    delivered: false,
    answered: failure.startsWith('the receiver answered'),
    failure,
    asks,
    retryAfterMs,
  });

  it('is one POST of JSON to the configured URL', async () => {
    receiver.answer = () => 204;
    expect(await send()).toEqual({ delivered: true });
    expect(receiver.deliveries).toMatchObject([
      { method: 'POST', path: '/SECRET-PATH?token=SECRET', headers: { 'content-type': 'application/json' } },
    ]);
  });

  it.each([200, 201, 202, 204])('is delivered if the receiver answers %d', async (status) => {
    receiver.answer = () => ({ status });
    expect(await send()).toEqual({ delivered: true });
  });

  it.each([
    [304, 'retry'],
    [400, 'retry'],
    [401, 'retry'],
    [404, 'retry'],
    [410, 'stop'],
    [429, 'rest'],
    [500, 'retry'],
    [503, 'retry'],
  ])('is not delivered if the receiver answers %d, which asks to %s', async (status, asks) => {
    receiver.answer = () => ({ status, ...(status === 304 ? {} : { body: 'SECRET of the receiver' }) });
    expect(await send()).toEqual(failed(`the receiver answered ${status}`, 0, asks));
  });

  it.each([301, 302, 303, 307, 308])('does not follow a redirect with %d', async (status) => {
    receiver.answer = ({ path }) =>
      path === '/elsewhere' ? 204 : { status, headers: { location: `${receiver.url}/elsewhere` } };
    expect(await send()).toEqual(failed(`the receiver answered ${status}`));
    expect(receiver.deliveries).toHaveLength(1);
  });

  it.each([
    ['120', 120_000],
    ['9999999', 9_999_999_000],
    ['0', 0],
    ['-5', 0],
    ['1.5', 0],
    ['Wed, 21 Oct 2015 07:28:00 GMT', 0],
    ['Wed, 21 Oct 2026 07:28:00', 0],
    ['2026-10-21T07:28:00Z', 0],
    ['9'.repeat(40), 0],
  ])('respects a Retry-After of %s', async (value, ms) => {
    receiver.answer = () => ({ status: 503, headers: { 'retry-after': value } });
    expect(await send()).toEqual(failed('the receiver answered 503', ms, ms > 0 ? 'rest' : 'retry'));
  });

  it.each([
    ['IMF-fixdate', 'Wed, 21 Oct 2026 07:28:00 GMT'],
    ['RFC 850', 'Wednesday, 21-Oct-26 07:28:00 GMT'],
    ['asctime', 'Wed Oct 21 07:28:00 2026'],
  ])('respects a Retry-After that is a date in the format %s', async (_, value) => {
    receiver.answer = () => ({ status: 500, headers: { 'retry-after': value } });
    const clock = new Clock();
    jest.spyOn(clock, 'now').mockReturnValue(Date.UTC(2026, 9, 21, 7, 26, 30));
    const sender = new CallbackSender(readConfig({ CALLBACK_URL: receiver.url }).receivers[0]!, clock);
    expect(await sender.send(EVENT, NEVER)).toEqual(failed('the receiver answered 500', 90_000));
  });

  it('is not delivered if the receiver closes the connection or cannot be reached', async () => {
    receiver.answer = () => 'hang up';
    expect(await send()).toEqual(failed('the receiver could not be reached (UND_ERR_SOCKET)'));
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    await new Promise((resolve) => server.close(resolve));
    expect(await sendTo(`http://127.0.0.1:${port}/SECRET`)).toEqual(
      failed('the receiver could not be reached (ECONNREFUSED)'),
    );
  });

  it('fails if there is no answer within 10 s', async () => {
    receiver.answer = () => 'hold';
    const wait = globalThis.setTimeout;
    jest
      .spyOn(globalThis, 'setTimeout')
      .mockImplementation(((run: () => void, ms: number) => wait(run, ms / 100)) as typeof setTimeout);
    expect(await send()).toEqual(failed('the receiver did not answer within 10 s'));
    receiver.letGo(204);
  });

  it('can be aborted before or after it was sent', async () => {
    receiver.answer = () => 'hold';
    const stopping = new AbortController();
    const sending = send(stopping.signal);
    await until(() => receiver.holding === 1);
    stopping.abort();
    expect(await sending).toMatchObject({ delivered: false });
    expect(await send(stopping.signal)).toMatchObject({ delivered: false });
    expect(receiver.deliveries).toHaveLength(1);
    await until(() => receiver.holding === 0);
  });

  it('is not sent if it was aborted before the connection was open', async () => {
    receiver.answer = () => ({ status: 204 });
    const sender = new CallbackSender(readConfig({ CALLBACK_URL: receiver.url }).receivers[0]!, new Clock());
    const stopping = new AbortController();
    const sending = sender.send(EVENT, stopping.signal);
    stopping.abort();
    expect(await sending).toEqual(failed('broken off'));
    // This one uses the same connection, so that the aborted one would arrive before it.
    expect(await sender.send({ ...EVENT, id: '2-1' }, NEVER)).toEqual({ delivered: true });
    expect(receiver.deliveries).toHaveLength(1);
  });

  it('is delivered when the status arrives, without a wait for the end of the body', async () => {
    const { url, sockets, close } = await serve((socket) =>
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nSECRET'),
    );
    try {
      expect(await sendTo(url)).toEqual({ delivered: true });
      await until(() => sockets.every(({ closed }) => closed));
    } finally {
      close();
    }
  });

  it('is delivered when the status arrives, and an endless body is not read', async () => {
    const { url, sockets, close } = await serve((socket) => {
      const goOn = (): void => {
        while (socket.writable && socket.write(Buffer.alloc(65_536)));
      };
      socket.on('drain', goOn);
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n');
      goOn();
    });
    try {
      expect(await sendTo(url)).toEqual({ delivered: true });
      await until(() => sockets.every(({ closed }) => closed));
      // The receiver can only fill the buffers.
      expect(sockets[0]!.bytesWritten).toBeLessThan(20_000_000);
    } finally {
      close();
    }
  });
});

/** Starts a receiver that writes its answers as raw bytes. */
async function serve(answer: (socket: Socket) => void) {
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => undefined);
    socket.once('data', () => answer(socket));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const close = (): void => {
    for (const socket of sockets) socket.destroy();
    server.close();
  };
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, sockets, close };
}
