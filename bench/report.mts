/** The figures of one slice of one server. */
export interface Sample {
  /** CPU of the server per request, in microseconds. */
  readonly cpuMicros: number;
  readonly perSecond: number;
  /** The share of the slice in which the server was on a CPU. Well below 1, something else was the limit. */
  readonly busy: number;
  /** CPU of Redis per request, in microseconds. */
  readonly redisMicros: number;
}

export interface Row {
  readonly name: string;
  readonly samples: readonly Sample[];
}

export function table(rows: readonly Row[]): string {
  const head = line('', 'CPU µs a request', 'requests a second', 'CPU busy %', 'Redis µs a request');
  const figures = rows.map(({ name, samples }) =>
    line(
      name,
      spread(samples.map(({ cpuMicros }) => cpuMicros)),
      spread(samples.map(({ perSecond }) => perSecond)),
      spread(samples.map(({ busy }) => busy * 100)),
      spread(samples.map(({ redisMicros }) => redisMicros)),
    ),
  );
  return [head, ...figures].join('\n');
}

/** The ratio of each row to `base`, per round: what slows a whole round down cancels out. */
export function ratioTable(rows: readonly Row[], base: Row): string {
  const head = line(`over ${base.name}`, 'CPU a request', 'requests a second');
  const figures = rows.map((row) =>
    line(row.name, spread(ratios(row, base, 'cpuMicros'), 2), spread(ratios(row, base, 'perSecond'), 2)),
  );
  return [head, ...figures].join('\n');
}

export function ratios(row: Row, base: Row, figure: keyof Sample): number[] {
  return row.samples.map((sample, round) => sample[figure] / base.samples[round]![figure]);
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  return (sorted[Math.floor(middle)]! + sorted[Math.ceil(middle) - 1]!) / 2;
}

function spread(values: readonly number[], digits = 0): string {
  const [middle, least, most] = [median(values), Math.min(...values), Math.max(...values)];
  return `${middle.toFixed(digits)} (${least.toFixed(digits)}-${most.toFixed(digits)})`;
}

function line(name: string, ...cells: readonly string[]): string {
  return name.padEnd(26) + cells.map((cell) => cell.padStart(22)).join('');
}
