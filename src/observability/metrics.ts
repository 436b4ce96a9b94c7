import { Injectable } from '@nestjs/common';
import { Counter, Gauge, Registry, collectDefaultMetrics } from 'prom-client';
import { CountedSeries, SeriesMetric, TimedSeries } from './series.js';

interface StoreMetric {
  readonly type: 'counter' | 'gauge';
  /** One sentence for the HELP line. */
  readonly help: string;
}

/**
 * Gauges of prom-client that are left out. They list every open connection at each scrape, and the names of three end in
 * `_total`, which is for counters.
 */
const LEFT_OUT = ['handles', 'requests', 'resources'].flatMap((name) => [
  `nodejs_active_${name}`,
  `nodejs_active_${name}_total`,
]);

/**
 * The metrics of this instance, in the text format of Prometheus. Each module registers its own metrics here. This file
 * imports no other module, so that every module can depend on it. Names get the prefix `streamgate_`.
 *
 * One instance reports the metrics of the whole system, so that a plain `sum` over all instances is right
 * (docs/decisions/0040-system-metrics.md).
 */
@Injectable()
export class Metrics {
  private readonly instance = new Registry();
  /** Metrics from the store. They are left out if the store does not answer: Prometheus would read a value 0 as a restart. */
  private readonly store = new Registry();
  /** Each reads some metrics from the store and returns a function that sets them. */
  private readonly storeReaders: (() => Promise<() => void>)[] = [];
  private elect: () => Promise<boolean> = async () => true;
  private isReporter = false;
  private readonly storeUp = new Gauge({
    name: 'streamgate_store_up',
    help: 'Whether the session store answered this scrape.',
    registers: [this.instance],
  });
  private readonly reporter = new Gauge({
    name: 'streamgate_system_reporter',
    help: 'Whether this instance reports the metrics of the whole system.',
    registers: [this.instance],
  });

  readonly contentType = this.instance.contentType;

  /** Registers a gauge of this instance, which is read at each scrape. */
  gauge(name: string, help: string, read: () => number): void {
    const gauge: Gauge = new Gauge({
      name: `streamgate_${name}`,
      help,
      registers: [this.instance],
      collect: () => {
        gauge.set(read());
      },
    });
  }

  /** Registers a gauge of this instance whose labels tell something and whose value is always 1. */
  info(name: string, help: string, labels: Readonly<Record<string, string>>): void {
    const labelNames = Object.keys(labels);
    new Gauge({ name: `streamgate_${name}`, help, labelNames, registers: [this.instance] }).set(labels, 1);
  }

  /** Registers a counter of this instance, which its module increments. */
  counter<Label extends string>(name: string, help: string, labelNames: readonly Label[]): Counter<Label> {
    return new Counter({ name: `streamgate_${name}`, help, labelNames, registers: [this.instance] });
  }

  /** Registers a counter of this instance whose series its module keeps, for what every request counts. */
  seriesCounter<Label extends string>(name: string, help: string): SeriesMetric<Label, CountedSeries> {
    return new SeriesMetric(this.instance, 'counter', `streamgate_${name}`, help, CountedSeries);
  }

  /** Registers a histogram of this instance, in seconds. Requests have the prefix that OpenTelemetry gives them. */
  histogram<Label extends string>(name: string, help: string): SeriesMetric<Label, TimedSeries> {
    const prefix = name.startsWith('http_server_') ? '' : 'streamgate_';
    return new SeriesMetric(this.instance, 'histogram', prefix + name, help, TimedSeries);
  }

  /** Registers what Node and the operating system know of this process: memory, CPU, garbage, delay of the event loop. */
  collectProcess(): void {
    collectDefaultMetrics({ register: this.instance });
    for (const name of LEFT_OUT) this.instance.removeSingleMetric(name);
  }

  /**
   * Registers metrics of the whole system. Each scrape reads their current values from the store; the value of a counter
   * is its total. If `read` rejects, the scrape has `streamgate_store_up 0` and leaves out the store's metrics of all modules.
   */
  fromStore<Name extends string>(
    storeMetrics: Readonly<Record<Name, StoreMetric>>,
    read: () => Promise<Readonly<Record<Name, number>>>,
  ): void {
    const names = Object.keys(storeMetrics) as Name[];
    const setters = names.map((name) => this.setterOf(`streamgate_${name}`, storeMetrics[name]));
    this.storeReaders.push(async () => {
      const values = await read();
      return () => {
        for (const [at, set] of setters.entries()) set(values[names[at]!]);
      };
    });
  }

  /**
   * Says how one of several instances is elected to report the system. `elect` is called at each scrape. While it rejects,
   * its last answer holds. By default this instance is the only one.
   */
  electReporterBy(elect: () => Promise<boolean>): void {
    this.elect = elect;
  }

  /** The sum of all series of a counter of this instance; 0 if there is none of this name. */
  async total(name: string): Promise<number> {
    const metric = await this.instance.getSingleMetric(`streamgate_${name}`)?.get();
    return metric?.values.reduce((sum, { value }) => sum + value, 0) ?? 0;
  }

  /** One scrape: reads the values and returns the metrics as text. Does not reject if the store is unavailable. */
  async scrape(): Promise<string> {
    const [updates, isReporter] = await Promise.all([
      Promise.all(this.storeReaders.map((read) => read())).catch(() => undefined),
      this.elect().catch(() => this.isReporter),
    ]);
    this.isReporter = isReporter;
    this.storeUp.set(updates ? 1 : 0);
    this.reporter.set(isReporter ? 1 : 0);
    for (const update of updates ?? []) update();
    const registries = updates && isReporter ? [this.instance, this.store] : [this.instance];
    return (await Promise.all(registries.map((registry) => registry.metrics()))).join('\n');
  }

  private setterOf(name: string, { type, help }: StoreMetric): (value: number) => void {
    if (type === 'gauge') {
      const gauge = new Gauge({ name, help, registers: [this.store] });
      return (value) => {
        gauge.set(value);
      };
    }
    const counter = new Counter({ name, help, registers: [this.store] });
    return (total) => {
      counter.reset();
      counter.inc(total);
    };
  }
}
