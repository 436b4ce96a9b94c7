import { Metrics } from './metrics.js';

describe('metrics', () => {
  const STORE_METRICS = {
    streams_live: { type: 'gauge', help: 'A gauge of the store.' },
    streams_total: { type: 'counter', help: 'A counter of the store.' },
  } as const;
  const ALWAYS = { streamgate_store_up: 1, streamgate_system_reporter: 1 };
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
    const expected = { ...ALWAYS, 'streamgate_refused_total{limit="user"}': 2 };
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
      ...ALWAYS,
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
    expect(valuesOf(await metrics.scrape())).toEqual({
      ...ALWAYS,
      streamgate_store_up: 0,
      streamgate_open: 1,
    });
    away = false;
    expect(valuesOf(await metrics.scrape())).toEqual(before);
  });

  it('reports the system only while it is elected, and as before while nobody can be elected', async () => {
    const metrics = new Metrics();
    metrics.gauge('open', 'Open now.', () => 1);
    metrics.fromStore(STORE_METRICS, async () => ({ streams_live: 3, streams_total: 10 }));
    const own = { streamgate_store_up: 1, streamgate_system_reporter: 0, streamgate_open: 1 };
    const all = {
      ...own,
      streamgate_system_reporter: 1,
      streamgate_streams_live: 3,
      streamgate_streams_total: 10,
    };
    let elect = async (): Promise<boolean> => false;
    metrics.electReporterBy(async () => elect());
    const refuse = async (): Promise<boolean> => {
      throw new Error('away');
    };
    const answers = [async () => false, refuse, async () => true, refuse, async () => false];
    const seen = [];
    for (elect of answers) seen.push(valuesOf(await metrics.scrape()));
    expect(seen).toEqual([own, own, all, all, own]);
  });

  it('counts each observation of a histogram in its bucket and all larger ones', async () => {
    const metrics = new Metrics();
    const histogram = metrics.histogram<'kind'>('took_seconds', 'How long it took.');
    for (const seconds of [0.001, 0.002, 0.002, 45]) histogram.series({ kind: 'a' }).observe(seconds);
    histogram.series({ kind: 'b' }).observe(0.3, 5);
    const text = await metrics.scrape();
    expect(text).toContain('# TYPE streamgate_took_seconds histogram');
    const of = (kind: string, le: string): number =>
      valuesOf(text)[`streamgate_took_seconds_bucket{kind="${kind}",le="${le}"}`]!;
    expect(['0.001', '0.0025', '30', '+Inf'].map((le) => of('a', le))).toEqual([1, 3, 3, 4]);
    expect(['0.25', '0.5', '+Inf'].map((le) => of('b', le))).toEqual([0, 5, 5]);
    expect(valuesOf(text)).toMatchObject({
      'streamgate_took_seconds_sum{kind="b"}': 1.5,
      'streamgate_took_seconds_count{kind="a"}': 4,
    });
  });
});
