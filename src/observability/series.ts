import { type Metric, type Registry } from 'prom-client';

/** Upper bounds of the buckets of all histograms, in seconds; those beyond 2.5 s are for callbacks, sweeps and lateness. */
const BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30] as const;

type Labels = Readonly<Record<string, string | number>>;

interface Sample {
  readonly metricName?: string;
  readonly labels: Labels;
  readonly value: number;
}

interface Series {
  samples(name: string, labels: Labels): readonly Sample[];
}

/** One series of a counter. */
export class CountedSeries implements Series {
  count = 0;

  samples(_name: string, labels: Labels): readonly Sample[] {
    return [{ labels, value: this.count }];
  }
}

/** One series of a histogram. */
export class TimedSeries implements Series {
  /** For each bucket, how many observations lie in it and in no smaller one; the last one has no upper bound. */
  private readonly counts: number[] = Array.from({ length: BUCKETS.length + 1 }, () => 0);
  private sum = 0;

  /** `times`: how many observations of the same value. */
  observe(seconds: number, times = 1): void {
    let bucket = 0;
    while (bucket < BUCKETS.length && seconds > BUCKETS[bucket]!) bucket++;
    this.counts[bucket]! += times;
    this.sum += seconds * times;
  }

  samples(name: string, labels: Labels): readonly Sample[] {
    let count = 0;
    const buckets = this.counts.map((more, at) => {
      count += more;
      return {
        metricName: `${name}_bucket`,
        labels: { ...labels, le: BUCKETS[at] ?? '+Inf' },
        value: count,
      };
    });
    return [
      ...buckets,
      { metricName: `${name}_sum`, labels, value: this.sum },
      { metricName: `${name}_count`, labels, value: count },
    ];
  }
}

/**
 * A counter or a histogram for what happens in every request. A caller gets each series once and keeps it. The classes of
 * prom-client sort and hash the labels at each observation, which costs more than everything that a renewal measures here.
 */
export class SeriesMetric<Label extends string, S extends Series> {
  private readonly made = new Map<string, { readonly labels: Labels; readonly series: S }>();

  constructor(
    registry: Registry,
    private readonly type: 'counter' | 'histogram',
    private readonly name: string,
    private readonly help: string,
    private readonly Kind: new () => S,
  ) {
    // A registry needs of a metric what `get` gives, and types it as one of its own classes.
    registry.registerMetric(this as unknown as Metric);
  }

  /** The series of these labels. */
  series(labels: Readonly<Record<Label, string>>): S {
    const key = JSON.stringify(labels);
    let found = this.made.get(key);
    if (found === undefined) this.made.set(key, (found = { labels, series: new this.Kind() }));
    return found.series;
  }

  /** What the registry writes, in the form of prom-client's metrics. */
  async get(): Promise<object> {
    const { name, help, type } = this;
    const values = [...this.made.values()].flatMap(({ labels, series }) => series.samples(name, labels));
    return { name, help, type, values, aggregator: 'sum' };
  }
}
