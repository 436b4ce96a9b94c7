import { type Server, createServer } from 'node:http';
import { type AddressInfo } from 'node:net';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { streamgate } from '../support/command-line.js';
import { BY_SECRET } from '../support/issuer.js';
import { type ServiceProcess, endServiceProcesses, startServiceProcess } from '../support/service-process.js';

interface Result {
  readonly users: number;
  readonly requests: number;
  readonly latencies: readonly { readonly call: string; readonly count: number }[];
  readonly decisions: Readonly<Record<string, number>>;
  readonly failures: number;
  readonly wrong: number;
  readonly wrong_answers: readonly { readonly answer: string }[];
}

/** Short phases, so that viewers do much in little time. */
const SHORT = { PHASE_SECONDS: '0.4', LOG_LEVEL: 'warn' };
/** Three seconds. */
const MINUTES = '0.05';

describe('a simulation', () => {
  let one: ServiceProcess;
  let other: ServiceProcess;
  /** Sends each request to the instances in turn, which share no store. */
  let proxy: Server;
  let turn = 0;

  beforeAll(async () => {
    [one, other] = await Promise.all([
      startServiceProcess(SHORT),
      startServiceProcess({ ...SHORT, ...BY_SECRET }),
    ]);
    const apart = await startServiceProcess(SHORT);
    proxy = createServer((request, reply) => {
      const { url } = turn++ % 2 === 0 ? one : apart;
      const forward = async (): Promise<void> => {
        const chunks: Buffer[] = [];
        for await (const chunk of request) chunks.push(chunk as Buffer);
        const body = Buffer.concat(chunks);
        const answer = await fetch(url + request.url!, {
          method: request.method!,
          headers: body.length > 0 ? { 'content-type': 'application/json' } : {},
          body: body.length > 0 ? body : null,
        });
        reply.writeHead(answer.status).end(await answer.text());
      };
      forward().catch(() => reply.destroy());
    });
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  });
  afterAll(async () => {
    await endServiceProcesses();
    proxy.closeAllConnections();
    await new Promise((resolve) => proxy.close(resolve));
  });

  it('finds no wrong answer of a service that works', async () => {
    const words = ['simulate', '--users', '20', '--minutes', MINUTES, '--url', one.url, '--json'];
    const outcome = await streamgate(words);
    const result = outcome.json() as Result;
    expect(result).toMatchObject({ users: 20, failures: 0, wrong: 0, wrong_answers: [] });
    expect(result.latencies.map(({ call }) => call)).toEqual(expect.arrayContaining(['start', 'renewal']));
    expect(result.decisions['201 admitted']).toBeGreaterThanOrEqual(20);
    expect(outcome.code).toBe(0);
    expect(outcome.err).toMatch(/^\d+ of 3 s: 20 users.*, 0 failures, 0 wrong$/m);
  });

  it('finds refusals right where users open more screens than they have places', async () => {
    const words = [
      'simulate',
      '--users',
      '5',
      '--screens',
      '5',
      '--minutes',
      MINUTES,
      '--url',
      one.url,
      '--json',
    ];
    const result = (await streamgate(words)).json() as Result;
    expect(result).toMatchObject({ failures: 0, wrong: 0 });
    expect(result.decisions['409 session-limit-reached']).toBeGreaterThanOrEqual(10);
  });

  it('finds the wrong answers of two instances that share no store', async () => {
    const url = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
    const words = ['simulate', '--users', '5', '--screens', '5', '--minutes', MINUTES, '--url', url];
    const { code, out } = await streamgate(words);
    expect(code).toBe(1);
    expect(out).toMatch(/, [1-9]\d* wrong answers/);
    expect(out).toMatch(/: (5|4) of 5 simultaneous starts were admitted, with 3 places$/m);
  });

  it('signs the tokens of viewers, and says what to do where it cannot', async () => {
    const words = ['simulate', '--users', '3', '--minutes', MINUTES, '--url', other.url];
    const { code, out } = await streamgate([...words, '--json'], { environment: BY_SECRET });
    expect([code, JSON.parse(out)]).toEqual([0, expect.objectContaining({ failures: 0, wrong: 0 })]);
    expect(await streamgate(words)).toMatchObject({
      code: 1,
      err: expect.stringContaining('set AUTH_MODE=jwt'),
    });
  });

  it('says that the service is away, in the built program as well', async () => {
    const program = join(__dirname, '../../dist/cli/main.js');
    const run = promisify(execFile)(process.execPath, [program, 'simulate', '--url', 'http://127.0.0.1:1']);
    await expect(run).rejects.toMatchObject({
      code: 1,
      stderr: expect.stringContaining('cannot be reached'),
    });
  });
});
