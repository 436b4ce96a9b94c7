import { LAYOUT_KEY } from '../keys.js';
import { type RedisLink } from '../link.js';
import { type ScriptRunner } from '../script.js';
import { LayoutChoice } from './layout-choice.js';

/** A Redis of which only what the decision needs is there. `swept`: a release without a marker has used it. */
class FakeRedis {
  readonly values = new Map<string, string>();

  constructor(readonly swept: boolean) {}
}

/** A connection that can lead to another Redis. Replies about sweeps come when they are let go. */
class FakeLink {
  redis = new FakeRedis(false);
  private readonly ready: (() => void)[] = [];
  private held: (() => void)[] | undefined;

  onReady = (listener: () => void): void => void this.ready.push(listener);
  get = async (key: string): Promise<string | null> => Promise.resolve(this.redis.values.get(key) ?? null);
  set = async (key: string, value: string): Promise<void> => {
    this.redis.values.set(key, value);
    return Promise.resolve();
  };
  hget = async (): Promise<string | null> => {
    const { swept } = this.redis;
    if (this.held) await new Promise<void>((resolve) => this.held!.push(resolve));
    return swept ? '1' : null;
  };

  hold(): void {
    this.held = [];
  }

  /** The replies that were asked for before arrive, and all later ones at once. */
  letGo(): void {
    const { held = [] } = this;
    this.held = undefined;
    for (const release of held) release();
  }

  leadTo(redis: FakeRedis): void {
    this.redis = redis;
    for (const listener of this.ready) listener();
  }
}

describe('the choice of the layout, if the connection leads to another Redis while it is made,', () => {
  const open = async (redis: FakeRedis) => {
    const link = new FakeLink();
    const written: (number | undefined)[] = [];
    const scripts = {
      layout: undefined as number | undefined,
      write(layout: number | undefined) {
        this.layout = layout;
        written.push(layout);
      },
    };
    const log = { warn: () => undefined };
    const choice = new LayoutChoice(
      link as unknown as RedisLink,
      scripts as unknown as ScriptRunner,
      undefined,
      log,
    );
    link.redis = redis;
    link.hold();
    return { link, scripts, written, choice, started: choice.start() };
  };
  const settle = async (): Promise<void> => {
    for (let n = 0; n < 20; n++) await new Promise((resolve) => setImmediate(resolve));
  };

  it('is that of the other Redis, which gets no marker if an older release uses it', async () => {
    const { link, scripts, written, choice, started } = await open(new FakeRedis(false));
    const asked = choice.decide();
    const other = new FakeRedis(true);
    await settle();
    link.leadTo(other);
    link.letGo();
    await Promise.all([started, asked]);
    await settle();
    expect([scripts.layout, written.includes(2), other.values.has(LAYOUT_KEY)]).toEqual([1, false, false]);
  });

  it('is the newest if the other Redis has that, also for what waits already', async () => {
    const { link, scripts, written, choice, started } = await open(new FakeRedis(true));
    const asked = choice.decide().then(() => scripts.layout);
    const other = new FakeRedis(false);
    other.values.set(LAYOUT_KEY, '2');
    await settle();
    link.leadTo(other);
    link.letGo();
    await started;
    expect(await asked).toBe(2);
    await settle();
    expect(written.filter((layout) => layout !== undefined)).toEqual([2]);
  });
});
