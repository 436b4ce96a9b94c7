import { Metrics } from './metrics.js';

describe('metrics', () => {
  const STORE_METRICS = {
    streams_live: { type: 'gauge', help: 'A gauge of the store.' },
    streams_total: { type: 'counter', help: 'A counter of the store.' },
  } as const;
  /** The value of each metric, by its name and labels. */
  const valuesOf = (text: string): Record<string, number> =>
    Object.fromEntries(
      [...text.matchAll(/^(streamgate_\S+) (\S+)$/gm)].map(([, name, value]) => [name!, Number(value)]),
    );

  it('reads gauges at each scrape, and counts what modules count', async () => {
    const metrics = new Metrics();
    let open = 1;
    metrics.gauge('open', 'Open now.', () => open);
    const refused = metrics.counter('refused_total', 'Refused so far.', ['limit']);
    refused.inc({ limit: 'user' }, 2);
    const expected = { streamgate_store_up: 1, 'streamgate_refused_total{limit="user"}': 2 };
    expect(valuesOf(await metrics.scrape())).toEqual({ ...expected, streamgate_open: 1 });
    open = 7;
    expect(valuesOf(await metrics.scrape())).toEqual({ ...expected, streamgate_open: 7 });
  });

  it('reports the values of the store, with type and help', async () => {
    const metrics = new Metrics();
    let total = 0;
    metrics.fromStore(STORE_METRICS, async () => ({ streams_live: 3, streams_total: ++total * 10 }));
    await metrics.scrape();
    const text = await metrics.scrape();
    expect(valuesOf(text)).toEqual({
      streamgate_store_up: 1,
      streamgate_streams_live: 3,
      streamgate_streams_total: 20, // the total of the store, not the sum of the scrapes
    });
    expect(text).toContain('# HELP streamgate_streams_live A gauge of the store.');
    expect(text).toContain('# TYPE streamgate_streams_live gauge');
    expect(text).toContain('# TYPE streamgate_streams_total counter');
  });

  it('leaves out all metrics of the store if one module cannot read its own, and reports store_up 0', async () => {
    const metrics = new Metrics();
    let away = false;
    metrics.gauge('open', 'Open now.', () => 1);
    metrics.fromStore(STORE_METRICS, async () => ({ streams_live: 3, streams_total: 10 }));
    metrics.fromStore({ paused: { type: 'gauge', help: 'Paused.' } }, async () => {
      if (away) throw new Error('away');
      return { paused: 0 };
    });
    const before = valuesOf(await metrics.scrape());
    expect(before).toMatchObject({ streamgate_store_up: 1, streamgate_paused: 0 });
    away = true;
    expect(valuesOf(await metrics.scrape())).toEqual({ streamgate_store_up: 0, streamgate_open: 1 });
    away = false;
    expect(valuesOf(await metrics.scrape())).toEqual(before);
  });
});
