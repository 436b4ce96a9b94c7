import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo } from 'node:net';
import { Logger } from '@nestjs/common';
import { ManualClock } from '../../test/support/manual-clock.js';
import { until } from '../../test/support/until.js';
import { readConfig } from '../config/config.js';
import { Metrics } from '../observability/metrics.js';
import { Catalogue } from './catalogue.js';
import { type Format, type MediaManifest, type MultivariantManifest } from './format.js';
import { LongList } from './long-list.js';
import { OriginFailures } from './origin-failures.js';
import { PhasedStream } from './phases.js';

/**
 * A format for this test: `film A B` and `live 100 A B` are streams with segments of 2 s; `choice uri uri` lists
 * renditions.
 */
const LINES: Format = {
  async read(text, { streamId, url, root, phaseSeconds }): Promise<MultivariantManifest | MediaManifest> {
    const [kind = '', ...words] = text.toString().trim().split(' ');
    const segments = (names: readonly string[]) =>
      names.map((name) => ({ path: new URL(name, url).href.slice(root.href.length), durationSeconds: 2 }));
    switch (kind) {
      case 'choice':
        return {
          kind: 'multivariant',
          renditions: words.map((uri) => ({ type: 'variant', url: new URL(uri, url) })),
          first: 0,
        };
      case 'film':
        return {
          kind: 'media',
          stream: new PhasedStream(streamId, LongList.from(segments(words)), phaseSeconds),
        };
      case 'live': {
        const options = { first: Number(words[0]), growing: true };
        return {
          kind: 'media',
          stream: new PhasedStream(streamId, LongList.from(segments(words.slice(1))), phaseSeconds, options),
        };
      }
      default:
        throw new Error('no such manifest');
    }
  },
  bytesOf: () => 1_000,
  renewsAfterMs: (manifest) => (manifest.kind === 'media' && !manifest.stream.ended ? 1_000 : undefined),
  lastsMs: (manifest) =>
    manifest.kind === 'media' && !manifest.stream.ended ? manifest.stream.segmentCount * 2_000 : Infinity,
};

/** The answers of the test origin, by path: a text, or the status of a failure; 0 closes the connection. */
const answers = new Map<string, string | number>();
const asked: string[] = [];
const server = createServer(({ url }, response) => {
  asked.push(url!);
  const answer = answers.get(url!) ?? 404;
  if (typeof answer === 'string') response.end(answer);
  else if (answer === 0) response.destroy();
  else response.writeHead(answer).end();
});
let template = '';
beforeAll(async () => {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  template = `http://127.0.0.1:${(server.address() as AddressInfo).port}/{stream_id}/index.txt`;
});
afterAll(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});
afterEach(() => {
  answers.clear();
  jest.restoreAllMocks();
});

function open() {
  asked.length = 0;
  const clock = new ManualClock();
  const warn = jest.spyOn(Logger.prototype, 'warn').mockReturnValue();
  const metrics = new Metrics();
  const failures = new OriginFailures(clock, metrics);
  const catalogue = new Catalogue(LINES, readConfig({ STREAM_ORIGIN: template }), clock, failures);
  /** How many reads of the origin failed, by whether what was in memory was used instead. */
  const failed = async (bridged: boolean): Promise<number> => {
    const line = `streamgate_origin_failures_total{bridged="${bridged}"} `;
    return Number((await metrics.scrape()).split(line)[1]!.split('\n')[0]);
  };
  /** The paths of all segments of a stream in the catalogue, or the outcome if it has none. */
  const paths = async (streamId: string, rendition?: number): Promise<string> => {
    const lookup = catalogue.known(streamId, rendition) ?? (await catalogue.find(streamId, rendition));
    if (lookup.outcome !== 'found') return lookup.outcome;
    const { stream, playerWindow } = lookup;
    const all: string[] = [];
    for (let at = playerWindow!.oldest; at < playerWindow!.end; at++)
      all.push(...stream.phase(at).segments.map(({ path }) => path));
    return all.join(' ');
  };
  return { clock, warn, catalogue, paths, failed };
}

describe('a catalogue', () => {
  it('finds streams of any format, and distinguishes missing streams from a failing origin', async () => {
    const { catalogue, paths } = open();
    answers.set('/film/index.txt', 'film a b');
    answers.set('/news/index.txt', 'live 100 a b c');
    answers.set('/broken/index.txt', 500);
    expect(await paths('film')).toBe('film/a film/b');
    expect(await catalogue.find('film')).toMatchObject({
      window: { oldest: 0, end: 1, start: 0, live: false },
    });
    expect(await catalogue.find('news')).toMatchObject({ playerWindow: { live: true } });
    expect(await paths('film', 0)).toBe('film/a film/b');
    expect(await paths('film', 1)).toBe('not-found');
    expect(await paths('never')).toBe('not-found');
    expect(await paths('broken')).toBe('unavailable');
    expect(await paths('..')).toBe('not-found');
  });

  it('reads a finished stream again after a minute, a live one when its format says, a missing one after a second', async () => {
    const { clock, paths } = open();
    answers.set('/film/index.txt', 'film a');
    answers.set('/news/index.txt', 'live 100 a');
    const all = async () => [await paths('film'), await paths('news'), await paths('soon')];
    expect(await all()).toEqual(['film/a', 'news/a', 'not-found']);
    answers.set('/film/index.txt', 'film b');
    answers.set('/news/index.txt', 'live 100 b');
    answers.set('/soon/index.txt', 'film b');
    clock.advance(1_000);
    expect(await all()).toEqual(['film/a', 'news/a', 'not-found']);
    clock.advance(1);
    expect(await all()).toEqual(['film/a', 'news/b', 'soon/b']);
    clock.advance(59_000);
    expect(await all()).toEqual(['film/b', 'news/b', 'soon/b']);
  });

  it('has no window of phases for a stream that has no phase yet', async () => {
    const { catalogue } = open();
    answers.set('/soon/index.txt', 'film');
    expect(await catalogue.find('soon')).toMatchObject({ outcome: 'found', window: undefined });
  });
});

describe('a catalogue whose origin fails', () => {
  it('uses a film for as long as it is in memory, and asks the origin every second', async () => {
    const { clock, paths, failed } = open();
    answers.set('/film/index.txt', 'film a');
    expect(await paths('film')).toBe('film/a');
    answers.set('/film/index.txt', 503);
    for (let hour = 0; hour < 24; hour++) {
      clock.advance(3_600_000);
      expect(await paths('film')).toBe('film/a');
      await until(async () => (await failed(true)) === hour + 1);
    }
    expect(await failed(false)).toBe(0);
    const reads = asked.length;
    clock.advance(1_000);
    await paths('film');
    expect(asked.length).toBe(reads);
    answers.set('/film/index.txt', 'film b');
    clock.advance(1);
    // Requests do not wait for a failing origin: they get the manifest in memory while the origin is asked.
    expect(await paths('film')).toBe('film/a');
    await until(async () => (await paths('film')) === 'film/b');
    expect(asked.length).toBe(reads + 1);
  });

  it('uses a live stream until all segments of its window have left it, and no longer', async () => {
    const { clock, paths } = open();
    answers.set('/news/index.txt', 'live 100 a b c');
    expect(await paths('news')).toBe('news/a news/b news/c');
    answers.set('/news/index.txt', 0);
    clock.advance(5_999);
    expect(await paths('news')).toBe('news/a news/b news/c');
    clock.advance(1_001);
    expect(await paths('news')).toBe('unavailable');
    answers.set('/news/index.txt', 'live 101 b c d');
    expect(await paths('news')).toBe('news/b news/c news/d');
  });

  it('accepts the answer of the origin that a stream does not exist any more', async () => {
    const { clock, paths } = open();
    answers.set('/film/index.txt', 'film a');
    expect(await paths('film')).toBe('film/a');
    answers.delete('/film/index.txt');
    clock.advance(60_001);
    expect(await paths('film')).toBe('not-found');
  });

  it('uses a live stream for ten seconds while the origin answers that it does not exist', async () => {
    const { clock, paths, failed } = open();
    answers.set('/news/index.txt', 'live 100 a b c d e f g h');
    await paths('news');
    answers.delete('/news/index.txt');
    for (let passed = 0; passed < 9; passed++) {
      clock.advance(1_001);
      expect(await paths('news')).toBe('news/a news/b news/c news/d news/e news/f news/g news/h');
      await until(async () => (await failed(true)) === passed + 1);
    }
    clock.advance(3_000);
    await until(async () => (await paths('news')) === 'not-found');
    answers.set('/news/index.txt', 'live 108 i');
    clock.advance(1_001);
    expect(await paths('news')).toBe('news/i');
  });

  it('uses a film while the manifest cannot be read, too', async () => {
    const { clock, paths } = open();
    answers.set('/film/index.txt', 'film a');
    await paths('film');
    answers.set('/film/index.txt', '<!doctype html>');
    clock.advance(60_001);
    expect(await paths('film')).toBe('film/a');
  });

  it('writes one line of log for an outage, and another for the next one', async () => {
    const { clock, warn, paths, failed } = open();
    const fail = async (streamId: string) => {
      answers.set(`/${streamId}/index.txt`, 500);
      expect(await paths(streamId)).toBe('unavailable');
    };
    for (let at = 0; at < 20; at++) {
      await fail(`film-${at}`);
      clock.advance(30_000);
    }
    expect(await failed(false)).toBe(20);
    expect(warn.mock.calls).toEqual([
      [{ reason: 'the origin answered 500', code: undefined, stream_id: 'film-0', msg: 'the origin failed' }],
    ]);
    clock.advance(60_000);
    await fail('film-20');
    expect(warn).toHaveBeenCalledTimes(2);
  });
});

describe('a catalogue of streams with renditions', () => {
  it('finds each rendition by its number', async () => {
    const { paths } = open();
    answers.set('/film/index.txt', 'choice low/l.txt high/h.txt');
    answers.set('/film/low/l.txt', 'film a');
    answers.set('/film/high/h.txt', 'film b');
    expect(await paths('film')).toBe('film/low/a');
    expect(await paths('film', 1)).toBe('film/high/b');
    expect(await paths('film', 2)).toBe('not-found');
  });

  it('reads the multivariant manifest again at once if a rendition is gone, and uses its new URLs', async () => {
    const { clock, paths } = open();
    answers.set('/news/index.txt', 'choice v1/l.txt v1/h.txt');
    answers.set('/news/v1/l.txt', 'live 100 a b');
    answers.set('/news/v1/h.txt', 'live 100 a b');
    expect(await paths('news', 1)).toBe('news/v1/a news/v1/b');
    // The encoder restarts under another name.
    answers.set('/news/index.txt', 'choice v2/l.txt v2/h.txt');
    answers.delete('/news/v1/h.txt');
    answers.delete('/news/v1/l.txt');
    answers.set('/news/v2/l.txt', 'live 0 x');
    answers.set('/news/v2/h.txt', 'live 0 y');
    clock.advance(1_001);
    expect(await paths('news', 1)).toBe('news/v2/y');
    expect(await paths('news')).toBe('news/v2/x');
  });

  it('uses new URLs of a multivariant manifest, even if a rendition was read lately', async () => {
    const { clock, catalogue, paths } = open();
    answers.set('/film/index.txt', 'choice v1/l.txt v1/h.txt');
    for (const at of ['v1', 'v2'])
      for (const name of ['l', 'h']) answers.set(`/film/${at}/${name}.txt`, `film ${name}`);
    await catalogue.open('film');
    clock.advance(30_000);
    expect([await paths('film'), await paths('film', 1)]).toEqual(['film/v1/l', 'film/v1/h']);
    answers.set('/film/index.txt', 'choice v2/l.txt v2/h.txt');
    clock.advance(30_001);
    expect([await paths('film', 1), await paths('film')]).toEqual(['film/v2/h', 'film/v2/l']);
    expect([await paths('film', 1), await paths('film')]).toEqual(['film/v2/h', 'film/v2/l']);
  });

  it('finds the next variant if the first one is gone or empty, and not if the origin fails', async () => {
    const { clock, paths } = open();
    answers.set('/film/index.txt', 'choice gone.txt empty.txt high.txt');
    answers.set('/film/empty.txt', 'live 100');
    answers.set('/film/high.txt', 'film b');
    for (let at = 0; at < 3; at++) expect(await paths('film')).toBe('film/b');
    expect(await paths('film', 0)).toBe('unavailable');
    expect(asked.filter((path) => path === '/film/gone.txt')).toHaveLength(1);
    answers.set('/film/gone.txt', 'film a');
    clock.advance(1_001);
    expect(await paths('film')).toBe('film/a');

    answers.set('/other/index.txt', 'choice low.txt high.txt');
    answers.set('/other/low.txt', 503);
    answers.set('/other/high.txt', 'film b');
    expect(await paths('other')).toBe('unavailable');
    expect(asked).not.toContain('/other/high.txt');

    answers.set('/third/index.txt', 'choice gone.txt failing.txt high.txt');
    answers.set('/third/failing.txt', 503);
    answers.set('/third/high.txt', 'film b');
    expect(await paths('third')).toBe('unavailable');
    expect(asked).not.toContain('/third/high.txt');
  });

  it('reads it at most once a second for a missing rendition', async () => {
    const { clock, paths } = open();
    answers.set('/film/index.txt', 'choice l.txt gone.txt');
    answers.set('/film/l.txt', 'film a');
    for (let at = 0; at < 10; at++) {
      expect(await paths('film', 1)).toBe('unavailable');
      clock.advance(100);
    }
    expect(asked.filter((path) => path === '/film/index.txt')).toHaveLength(1);
    clock.advance(1);
    expect(await paths('film', 1)).toBe('unavailable');
    expect(asked.filter((path) => path === '/film/index.txt')).toHaveLength(2);
  });
});
