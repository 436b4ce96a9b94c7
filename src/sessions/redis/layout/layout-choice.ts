import { ALL_PARTITIONS, LAYOUT_KEY, partitionKeys } from '../keys.js';
import { type RedisLink, allOf } from '../link.js';
import { type ScriptRunner } from '../script.js';
import { type Layout } from './layout.js';

const NEWEST: Layout = 2;
/** The delay before a failed decision is retried. */
const RETRY_MS = 100;

/**
 * Decides which layout this instance writes, each time that a connection becomes ready. An older release on the same
 * Redis cannot read the newest layout. So the newest layout is written only in three cases: the operator sets it
 * (STORE_LAYOUT), a marker in Redis says that all instances can read it, or no older release has ever swept this
 * Redis. Until this instance knows, it runs no script, because it would write records anew in the older layout and lose
 * what only the newest can hold.
 */
export class LayoutChoice {
  private warned = false;
  private deciding: Promise<void> | undefined;
  /** How often a connection became ready. A decision counts only for the connection on which it began. */
  private connections = 0;
  private retry: NodeJS.Timeout | undefined;

  constructor(
    private readonly link: RedisLink,
    private readonly scripts: ScriptRunner,
    private readonly configured: Layout | undefined,
    private readonly log: { warn(message: string): void },
  ) {}

  /** Resolves after the first attempt to decide, whether it succeeds or fails. */
  async start(): Promise<void> {
    this.link.onReady(() => {
      this.connections++;
      this.deciding = undefined;
      // Others may have begun to write the newest layout while this instance was away.
      if (this.configured === undefined && this.scripts.layout !== NEWEST) this.scripts.write(undefined);
      void this.tryToDecide();
    });
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

  /** Decides now, or joins a decision that is under way on this connection. Rejects if Redis does not answer. */
  async decide(): Promise<void> {
    if (this.deciding !== undefined) return this.deciding;
    const decision = this.ask().finally(() => {
      if (this.deciding === decision) this.deciding = undefined;
    });
    this.deciding = decision;
    return decision;
  }

  private async ask(): Promise<void> {
    const { connections } = this;
    // Another server may answer now, which has other data.
    const isVoid = (): boolean => connections !== this.connections;
    const layout = this.configured ?? (await this.find());
    if (isVoid()) return this.decide();
    // Also after an earlier decision, because a Redis that lost its data has lost the marker.
    if (layout === NEWEST) {
      // Read first, because a full Redis accepts no new value.
      const marker = await this.link.get(LAYOUT_KEY);
      if (!isVoid() && marker !== String(NEWEST)) await this.link.set(LAYOUT_KEY, String(NEWEST));
      if (isVoid()) return this.decide();
    } else if (this.configured === undefined && !this.warned) {
      this.warned = true;
      this.log.warn(
        `Redis holds data of an older release, so this instance writes the older layout ${layout}. ` +
          `Set STORE_LAYOUT=${NEWEST} when all instances run this release.`,
      );
    }
    this.scripts.write(layout);
  }

  private async find(): Promise<Layout> {
    // A decision for the newest layout stays, because values may have been written in it since.
    if (this.scripts.layout === NEWEST) return NEWEST;
    if (Number(await this.link.get(LAYOUT_KEY)) >= NEWEST) return NEWEST;
    const states = await allOf(
      ALL_PARTITIONS.map((partition) => this.link.hget(partitionKeys(partition).state, 'swept')),
    );
    return states.every((swept) => swept === null) ? NEWEST : 1;
  }
}
