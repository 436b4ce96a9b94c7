import { Agent, request } from 'node:http';
import { type Asked, type Check } from './load.mts';

/**
 * Asks so many times a second for so long, whether or not earlier requests were answered: a server that stands still
 * must not slow the asking down, or its worst moments are asked about least. Gives milliseconds from when each request
 * was due to go out until its answer was there whole. Throws where an answer was wrong.
 */
export async function pace(
  url: string,
  asked: readonly Asked[],
  perSecond: number,
  seconds: number,
  check: Check,
): Promise<number[]> {
  const agent = new Agent({ keepAlive: true });
  const count = Math.round(perSecond * seconds);
  const answers: Promise<Answer>[] = [];
  const started = performance.now() + 1;
  await new Promise<void>((resolve) => {
    const timer = setInterval(() => {
      for (;;) {
        const dueAt = started + (answers.length / perSecond) * 1_000;
        if (answers.length === count) {
          clearInterval(timer);
          resolve();
          return;
        }
        if (dueAt > performance.now()) return;
        answers.push(askOnce(agent, url, asked[answers.length % asked.length]!, dueAt));
      }
    }, 1);
  });
  const all = await Promise.all(answers);
  agent.destroy();
  for (const { asked: what, status, body } of all) {
    const fault = check(what, status, body);
    if (fault !== undefined) throw new Error(`${fault} for ${JSON.stringify(what)}: ${body}`);
  }
  return all.map(({ tookMs }) => tookMs);
}

interface Answer {
  readonly asked: Asked;
  readonly status: number;
  readonly body: string;
  readonly tookMs: number;
}

async function askOnce(agent: Agent, url: string, asked: Asked, dueAt: number): Promise<Answer> {
  const text = JSON.stringify(asked);
  return new Promise((resolve, reject) => {
    const outgoing = request(`${url}/v1/phases`, {
      agent,
      method: 'POST',
      headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) },
    });
    outgoing.once('error', reject);
    outgoing.once('response', (reply) => {
      let body = '';
      reply.setEncoding('utf8');
      reply.on('data', (chunk: string) => (body += chunk));
      reply.once('error', reject);
      reply.once('end', () => {
        resolve({ asked, status: reply.statusCode!, body, tookMs: performance.now() - dueAt });
      });
    });
    outgoing.end(text);
  });
}
