import { Injectable } from '@nestjs/common';
import { Counter, Gauge, Registry } from 'prom-client';

interface StoreMetric {
  readonly type: 'counter' | 'gauge';
  /** One sentence for the HELP line. */
  readonly help: string;
}

/**
 * The metrics of this instance, in the text format of Prometheus. Each module registers its own metrics here. This file
 * imports no other module, so that every module can depend on it. Names get the prefix `streamgate_`.
 */
@Injectable()
export class Metrics {
  private readonly instance = new Registry();
  /** Metrics from the store. They are left out if the store does not answer: Prometheus would read a value 0 as a restart. */
  private readonly store = new Registry();
  /** Each reads some metrics from the store and returns a function that sets them. */
  private readonly storeReaders: (() => Promise<() => void>)[] = [];
  private readonly storeUp = new Gauge({
    name: 'streamgate_store_up',
    help: 'Whether the session store answered this scrape.',
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

  /** Registers a counter of this instance, which its module increments. */
  counter<Label extends string>(name: string, help: string, labelNames: readonly Label[]): Counter<Label> {
    return new Counter({ name: `streamgate_${name}`, help, labelNames, registers: [this.instance] });
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

  /** One scrape: reads the values and returns the metrics as text. Does not reject if the store is unavailable. */
  async scrape(): Promise<string> {
    const updates = await Promise.all(this.storeReaders.map((read) => read())).catch(() => undefined);
    this.storeUp.set(updates ? 1 : 0);
    for (const update of updates ?? []) update();
    const registries = updates ? [this.instance, this.store] : [this.instance];
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
