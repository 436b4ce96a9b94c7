import { Injectable } from '@nestjs/common';
import { Counter, Gauge, Registry } from 'prom-client';

interface Figure {
  readonly type: 'counter' | 'gauge';
  /** One sentence for the HELP line. */
  readonly help: string;
}

/**
 * The metrics of this instance, in the text format of Prometheus. Each module registers its own figures here, where they
 * arise. This file imports no other module, so that every module can depend on it. Names get the prefix `streamgate_`.
 */
@Injectable()
export class Metrics {
  private readonly instance = new Registry();
  /** Left out of a scrape that the store does not answer: the value 0 would be wrong, and to Prometheus a restart. */
  private readonly store = new Registry();
  /** Each reads some figures from the store and returns a function that sets them. */
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
   * Registers figures of the whole system, whose current values (of a counter: its total) are read from the store at each
   * scrape. Where `read` rejects, the scrape says `streamgate_store_up 0` and leaves out the figures of every module.
   */
  fromStore<Name extends string>(
    figures: Readonly<Record<Name, Figure>>,
    read: () => Promise<Readonly<Record<Name, number>>>,
  ): void {
    const names = Object.keys(figures) as Name[];
    const setters = names.map((name) => this.setterOf(`streamgate_${name}`, figures[name]));
    this.storeReaders.push(async () => {
      const values = await read();
      return () => {
        for (const [at, set] of setters.entries()) set(values[names[at]!]);
      };
    });
  }

  /** One scrape: reads what has to be read, and returns the metrics as text. Never rejects for an unavailable store. */
  async scrape(): Promise<string> {
    const updates = await Promise.all(this.storeReaders.map((read) => read())).catch(() => undefined);
    this.storeUp.set(updates ? 1 : 0);
    for (const update of updates ?? []) update();
    const registries = updates ? [this.instance, this.store] : [this.instance];
    return (await Promise.all(registries.map((registry) => registry.metrics()))).join('\n');
  }

  private setterOf(name: string, { type, help }: Figure): (value: number) => void {
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
