import { median } from './report.mts';

/** One figure of several runs, and its aim. */
export interface Figure {
  readonly name: string;
  readonly unit: string;
  readonly digits?: number;
  /** One value per run. */
  readonly values: readonly number[];
  readonly aim?: {
    readonly below?: number;
    readonly atLeast?: number;
    /** The value to compare with the aim: the median, or the maximum. */
    readonly by: 'median' | 'worst';
  };
}

export function show(title: string, figures: readonly Figure[]): void {
  console.log(`\n${title}\n`);
  for (const { name, unit, digits = 0, values, aim } of figures) {
    const [middle, ...range] = [median(values), Math.min(...values), Math.max(...values)].map((value) =>
      value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits }),
    );
    const spread = values.length > 1 ? `${middle} (${range.join('-')})` : middle;
    console.log(`  ${name.padEnd(58)}${`${spread} ${unit}`.padEnd(38)}${aim ? verdict(values, aim) : ''}`);
  }
}

function verdict(values: readonly number[], { below, atLeast, by }: NonNullable<Figure['aim']>): string {
  const most = by === 'median' ? median(values) : Math.max(...values);
  const least = by === 'median' ? median(values) : Math.min(...values);
  const met = most < (below ?? Infinity) && least >= (atLeast ?? -Infinity);
  const aim = below === undefined ? `${atLeast?.toLocaleString('en')} or more` : `below ${below}`;
  return `${met ? 'met' : 'not met'}: ${aim}`;
}

/** The value below which this share of the values lies. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]!;
}
