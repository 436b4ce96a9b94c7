import { once } from 'node:events';
import { chmodSync, existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { programsHere, screenInProgram } from '../support/screens.js';
import { until } from '../support/until.js';

const SAMPLE = join(__dirname, '../../samples/streams/test-pattern/360p');

/** The support of the tests that run for half an hour. */
describe('a program as a screen', () => {
  const programs = programsHere();
  const temporary = process.env.TMPDIR;
  let folder: string;
  let origin: Server;
  beforeAll(async () => {
    process.env.TMPDIR = folder = mkdtempSync(join(tmpdir(), 'screens-'));
    chmodSync(folder, 0o755);
    // The third segment never comes.
    origin = createServer(({ url }, response) => {
      const file = join(SAMPLE, url!);
      if (url!.includes('segment-002')) return;
      response.statusCode = existsSync(file) ? 200 : 404;
      response.end(existsSync(file) ? readFileSync(file) : '');
    }).listen(0, '127.0.0.1');
    await once(origin, 'listening');
  });
  afterAll(() => {
    origin.closeAllConnections();
    origin.close();
    if (temporary === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = temporary;
    rmSync(folder, { recursive: true });
  });

  it('tells when it has nothing left to show, and leaves no files behind', async () => {
    const { port } = origin.address() as AddressInfo;
    await Promise.all(
      programs.map(async (name) => {
        const screen = screenInProgram(name, `http://127.0.0.1:${port}/index.m3u8`);
        try {
          await until(async () => (await screen.position()) >= 1, 20_000);
          expect([name, await screen.isEmpty()]).toEqual([name, false]);
          await until(() => screen.isEmpty(), 30_000);
        } finally {
          await screen.close();
        }
      }),
    );
    expect(readdirSync(folder)).toEqual([]);
  }, 60_000);
});
