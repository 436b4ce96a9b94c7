/** The part of a page's `sessionStorage` that is used here. */
interface TabStorage {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

interface PageEvents {
  addEventListener(type: PageEventName, listener: (event: { persisted?: boolean }) => void): void;
  removeEventListener(type: PageEventName, listener: (event: { persisted?: boolean }) => void): void;
}
type PageEventName = 'pagehide' | 'pageshow';

/** Calls back when the page goes, and when it comes back from the back/forward cache. Returns a function that stops it. */
export function watchPage(onHide: () => void, onReturn: () => void = () => undefined): () => void {
  const page = globalThis as Partial<PageEvents>;
  const shown = ({ persisted }: { persisted?: boolean }): void => {
    if (persisted) onReturn();
  };
  page.addEventListener?.('pagehide', onHide);
  page.addEventListener?.('pageshow', shown);
  return () => {
    page.removeEventListener?.('pagehide', onHide);
    page.removeEventListener?.('pageshow', shown);
  };
}

/**
 * A session id that survives a reload of the tab. The id is stored only while no page of the tab is open: stored when the
 * page goes, and taken out by the next page. So a tab that is duplicated does not copy the id of the open page.
 */
export class TabSession {
  readonly id: string;
  readonly #key: string;
  readonly #stop: () => void;

  /** `name` tells apart what the page plays. Players of the same name take the stored ids in the order of their pages. */
  constructor(name: string) {
    this.#key = `streamgate:${name}`;
    const stored = read(this.#key);
    this.id = stored.shift() ?? randomId();
    write(this.#key, stored);
    this.#stop = watchPage(
      () => write(this.#key, [...read(this.#key), this.id]),
      () =>
        write(
          this.#key,
          read(this.#key).filter((id) => id !== this.id),
        ),
    );
  }

  /** The session is over: a reload gets another id. */
  forget(): void {
    this.#stop();
  }
}

/** Not `crypto.randomUUID`, which only pages of secure origins have. */
export function randomId(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))]
    .map((byte) => byte.toString(16).padStart(2, '0'))
    .join('');
}

/** Undefined outside of pages, and where the browser does not allow storage: reading the property then throws. */
function storage(): TabStorage | undefined {
  try {
    return (globalThis as { sessionStorage?: TabStorage }).sessionStorage;
  } catch {
    return undefined;
  }
}

function read(key: string): string[] {
  try {
    const ids: unknown = JSON.parse(storage()?.getItem(key) ?? '[]');
    return Array.isArray(ids) ? ids.filter((id) => typeof id === 'string') : [];
  } catch {
    return [];
  }
}

function write(key: string, ids: readonly string[]): void {
  try {
    if (ids.length === 0) storage()?.removeItem(key);
    else storage()?.setItem(key, JSON.stringify(ids));
  } catch {
    // The storage is full. The next page gets a new id.
  }
}
