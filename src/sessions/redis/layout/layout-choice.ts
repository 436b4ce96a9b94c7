import { ALL_PARTITIONS, LAYOUT_KEY, partitionKeys } from '../keys.js';
import { type RedisLink, allOf } from '../link.js';
import { type ScriptRunner } from '../script.js';
import { type Layout } from './layout.js';

const NEWEST: Layout = 2;
/** How soon a decision is tried again that Redis did not answer. */
const RETRY_MS = 1_000;

/**
 * Decides which layout this instance writes, each time that a connection is ready. An older release may run beside it on
 * the same Redis and cannot read the newest layout, so that is written only if the operator says so (STORE_LAYOUT), if a
 * marker in Redis says that all instances can, or if no older release has ever swept this Redis.
 */
export class LayoutChoice {
  private warned = false;
  private retry: NodeJS.Timeout | undefined;

  constructor(
    private readonly link: RedisLink,
    private readonly scripts: ScriptRunner,
    private readonly configured: Layout | undefined,
    private readonly log: { warn(message: string): void },
  ) {}

  /** Resolves when it has been decided for the first time, or could not be. */
  async start(): Promise<void> {
    this.link.onReady(() => void this.tryToDecide());
    await this.tryToDecide();
  }

  stop(): void {
    clearTimeout(this.retry);
  }

  private async tryToDecide(): Promise<void> {
    clearTimeout(this.retry);
    await this.decide().catch(() => {
      this.retry = setTimeout(() => void this.tryToDecide(), RETRY_MS).unref();
    });
  }

  private async decide(): Promise<void> {
    const layout = this.configured ?? (await this.find());
    // Also where it was decided before: a Redis that lost everything has lost the marker.
    if (layout === NEWEST) await this.link.set(LAYOUT_KEY, String(NEWEST));
    else if (this.configured === undefined && !this.warned) {
      this.warned = true;
      this.log.warn(
        `Redis holds data of an older release, so this instance writes the older layout ${layout}. ` +
          `Set STORE_LAYOUT=${NEWEST} when all instances run this release.`,
      );
    }
    this.scripts.write(layout);
  }

  private async find(): Promise<Layout> {
    // What was decided stays: a newer release has been writing, and has left nothing that others cannot read.
    if (this.scripts.layout === NEWEST) return NEWEST;
    if (Number(await this.link.get(LAYOUT_KEY)) >= NEWEST) return NEWEST;
    const states = await allOf(
      ALL_PARTITIONS.map((partition) => this.link.hget(partitionKeys(partition).state, 'swept')),
    );
    return states.every((swept) => swept === null) ? NEWEST : 1;
  }
}
