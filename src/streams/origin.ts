import { open, readdir, stat } from 'node:fs/promises';
import { resolve, sep } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { type Config } from '../config/config.js';

/** A playlist is text of a few kilobytes; two hours in segments of two seconds are about 300 KB. */
const MAX_PLAYLIST_BYTES = 4 * 1024 * 1024;

/** An origin that sends on and on is none. */
const MAX_REDIRECTS = 3;

export interface Found {
  readonly text: string;
  /** What the relative URIs in it are relative to. */
  readonly url: URL;
}

/** Where streams come from. Whatever goes wrong in `read`, a time-out included, rejects; only absence is data. */
export interface Origin {
  /** What the paths of segments are relative to; ends in a slash. Nothing outside it is read or handed out. */
  readonly root: URL;
  /** Where the playlist of a stream is. */
  playlistUrl(streamId: string): URL;
  /** What is at a URL below the root; undefined where there is nothing. */
  read(url: URL, signal: AbortSignal): Promise<Found | undefined>;
  /** The streams that there are. */
  list(): Promise<readonly string[] | 'unknown'>;
}

/** STREAM_ORIGIN is a folder holding `{stream_id}/index.m3u8`, or an http(s) URL with `{stream_id}` in it. */
export function openOrigin({
  STREAM_ORIGIN,
  STREAM_ORIGIN_REDIRECTS,
}: Pick<Config, 'STREAM_ORIGIN' | 'STREAM_ORIGIN_REDIRECTS'>): Origin & {
  readonly folder: string | undefined;
} {
  return /^https?:/.test(STREAM_ORIGIN)
    ? new HttpOrigin(STREAM_ORIGIN, STREAM_ORIGIN_REDIRECTS)
    : new FolderOrigin(STREAM_ORIGIN);
}

/** What the URL of each segment begins with, ending in a slash; undefined where that is this service's own address. */
export function mediaBaseOf(config: Config): string | undefined {
  // As clients send it, since signatures may cover it.
  if (config.MEDIA_BASE_URL !== undefined) return new URL(config.MEDIA_BASE_URL).href.replace(/\/*$/, '/');
  const { folder, root } = openOrigin(config);
  return folder === undefined ? root.href : undefined;
}

class FolderOrigin implements Origin {
  readonly root: URL;
  readonly folder: string;

  constructor(folder: string) {
    this.folder = resolve(folder);
    this.root = pathToFileURL(this.folder + sep);
  }

  playlistUrl(streamId: string): URL {
    return new URL(`${encodeURIComponent(streamId)}/index.m3u8`, this.root);
  }

  async read(url: URL, signal: AbortSignal): Promise<Found | undefined> {
    try {
      await using file = await open(fileURLToPath(url));
      const { size } = await file.stat();
      if (size > MAX_PLAYLIST_BYTES)
        throw new Error(`the playlist is larger than ${MAX_PLAYLIST_BYTES} bytes`);
      signal.throwIfAborted();
      return { text: await file.readFile('utf8'), url };
    } catch (error) {
      if (isAbsent(error)) return undefined;
      throw error;
    }
  }

  async list(): Promise<readonly string[]> {
    const entries = await readdir(this.root, { withFileTypes: true });
    const found = await Promise.all(
      entries.map(async ({ name }) =>
        stat(fileURLToPath(this.playlistUrl(name)))
          .then((playlist) => playlist.isFile())
          .catch(() => false),
      ),
    );
    return entries.filter((_, position) => found[position]).map(({ name }) => name);
  }
}

function isAbsent(error: unknown): boolean {
  return ['ENOENT', 'ENOTDIR', 'EISDIR'].includes((error as NodeJS.ErrnoException).code ?? '');
}

class HttpOrigin implements Origin {
  readonly root: URL;
  readonly folder = undefined;

  /** `redirects` are other origins, as in `https://host:port`, that this one may send on to. */
  constructor(
    private readonly template: string,
    private readonly redirects: readonly string[],
  ) {
    this.root = new URL('.', template.slice(0, template.indexOf('{stream_id}')) + 'x');
  }

  playlistUrl(streamId: string): URL {
    return new URL(this.template.replaceAll('{stream_id}', encodeURIComponent(streamId)));
  }

  async read(url: URL, signal: AbortSignal): Promise<Found | undefined> {
    let at = url;
    let response = await fetch(at, { signal, redirect: 'manual' });
    for (let sent = 0; response.status >= 300 && response.status < 400; sent++) {
      await response.body?.cancel();
      if (sent === MAX_REDIRECTS) throw new Error('the origin redirects again and again');
      at = this.follow(at, response.headers.get('location') ?? '');
      response = await fetch(at, { signal, redirect: 'manual' });
    }
    if (response.status === 404 || response.status === 410) {
      await response.body?.cancel();
      return undefined;
    }
    if (!response.ok) {
      await response.body?.cancel();
      throw new Error(`the origin answered ${response.status}`);
    }
    const chunks: Uint8Array[] = [];
    let size = 0;
    for await (const chunk of (response.body ?? []) as AsyncIterable<Uint8Array>) {
      chunks.push(chunk);
      size += chunk.length;
      if (size > MAX_PLAYLIST_BYTES)
        throw new Error(`the playlist is larger than ${MAX_PLAYLIST_BYTES} bytes`);
    }
    // What another origin sends is read as if it lay here, where its media are.
    return { text: Buffer.concat(chunks).toString('utf8'), url: this.isBelow(at) ? at : url };
  }

  /** Nowhere but where the operator said: a stream id must not lead to what only this service can reach. */
  private follow(from: URL, location: string): URL {
    const target = URL.parse(location, from.href);
    if (target && (this.isBelow(target) || this.redirects.includes(target.origin))) return target;
    throw new Error(
      `the origin redirects to ${target?.origin ?? 'no URL'}, which STREAM_ORIGIN_REDIRECTS does not name`,
    );
  }

  private isBelow(url: URL): boolean {
    return url.href.startsWith(this.root.href);
  }

  async list(): Promise<'unknown'> {
    return 'unknown';
  }
}
