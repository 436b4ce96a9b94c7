import type * as tabs from '../../client/src/tab.js';
import { until } from '../support/until.js';
import { nextResult, useStage } from '../support/viewer.js';

type Listener = (event: { persisted: boolean }) => void;

/** A tab of a browser: its storage outlives its pages. */
class Tab {
  readonly stored = new Map<string, string>();
  private listeners: [type: string, listener: Listener][] = [];

  /** Makes this tab's page the one that runs here. */
  show(): void {
    Object.assign(globalThis, {
      sessionStorage: {
        getItem: (key: string) => this.stored.get(key) ?? null,
        setItem: (key: string, value: string) => void this.stored.set(key, value),
        removeItem: (key: string) => void this.stored.delete(key),
      },
      addEventListener: (type: string, listener: Listener) => void this.listeners.push([type, listener]),
      removeEventListener: (_type: string, listener: Listener) => {
        this.listeners = this.listeners.filter(([, one]) => one !== listener);
      },
    });
  }

  dispatch(type: 'pagehide' | 'pageshow', persisted = false): void {
    for (const [name, listener] of this.listeners) if (name === type) listener({ persisted });
  }

  /** The page goes, and another page of the tab comes. */
  reload(): void {
    this.dispatch('pagehide');
    this.listeners = [];
  }

  duplicate(): Tab {
    const copy = new Tab();
    for (const [key, value] of this.stored) copy.stored.set(key, value);
    return copy;
  }
}

describe('in a tab of a browser', () => {
  const stage = useStage({ MAX_SESSIONS_PER_USER: '1' });
  let TabSession: typeof tabs.TabSession;
  let tab: Tab;
  beforeAll(async () => {
    const path: string = '../../client/dist/tab.js';
    ({ TabSession } = (await import(path)) as typeof tabs);
  });
  beforeEach(() => {
    tab = new Tab();
    tab.show();
  });
  afterAll(() => {
    for (const name of ['sessionStorage', 'addEventListener', 'removeEventListener'])
      Reflect.deleteProperty(globalThis, name);
  });

  it('a session id survives a reload; each player of the page has its own', () => {
    const ids = ['film', 'film', 'news'].map((name) => new TabSession(name).id);
    expect(new Set(ids).size).toBe(3);
    tab.reload();
    expect(['film', 'film', 'news'].map((name) => new TabSession(name).id)).toEqual(ids);
  });

  it('a duplicate of the tab gets another id, and so does a session that is over', () => {
    const first = new TabSession('film');
    const copy = tab.duplicate();
    copy.show();
    expect(new TabSession('film').id).not.toBe(first.id);
    tab.show();
    first.forget();
    tab.reload();
    expect(new TabSession('film').id).not.toBe(first.id);
  });

  it('a page that returns from the back/forward cache keeps its id for itself', () => {
    const first = new TabSession('film');
    tab.dispatch('pagehide', true);
    tab.dispatch('pageshow', true);
    expect(new TabSession('film').id).not.toBe(first.id);
  });

  it('works where the browser allows no storage', () => {
    Object.defineProperty(globalThis, 'sessionStorage', {
      configurable: true,
      get: () => {
        throw new Error('SecurityError');
      },
    });
    expect(new TabSession('film').id).toMatch(/^[0-9a-f]{32}$/);
    Reflect.deleteProperty(globalThis, 'sessionStorage');
  });

  it('a viewing gives its place back when the page goes, and continues its session after a reload', async () => {
    const viewing = stage.watch();
    await nextResult(viewing[Symbol.asyncIterator]());
    tab.reload();
    await until(async () => (await stage.live()).length === 0);
    const again = stage.watch();
    expect(again.sessionId).toBe(viewing.sessionId);
    expect(await nextResult(again[Symbol.asyncIterator]())).toBe('test-pattern 0');
    expect(await stage.live()).toEqual([viewing.sessionId]);
    await again.stop();
    tab.reload();
    expect(stage.watch().sessionId).not.toBe(viewing.sessionId);
  });
});
