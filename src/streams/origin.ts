import { open, readdir, stat } from 'node:fs/promises';
import { resolve, sep } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { type Config } from '../config/config.js';
import { type LongText, decodeInTurns } from '../http/long-texts.js';
import { currentSpan } from '../http/request-notes.js';
import { type OpenSpan, serverAttributes } from '../observability/tracing.js';

/** A day in segments of two seconds, each with a date and a token of 100 characters, is 8 MB. */
const MAX_PLAYLIST_BYTES = 16 * 1024 * 1024;

/** Chunks of a playlist that are taken from the connection in one turn of the event loop. */
const CHUNKS_A_TURN = 2;

/** An origin that redirects more often is treated as failing. */
const MAX_REDIRECTS = 3;

/** A text that was read from the origin. */
export interface OriginText {
  readonly text: LongText;
  /** The base of the relative URIs in the text. */
  readonly url: URL;
}

/** The source of streams. `read` rejects for every failure, including a time-out; only a missing resource is data. */
export interface Origin {
  /** The base of the paths of segments; ends in a slash. Nothing outside it is read or given to clients. */
  readonly root: URL;
  /** The URL of the playlist of a stream. */
  playlistUrl(streamId: string): URL;
  /** Reads the text at a URL below the root; undefined if there is none. */
  read(url: URL, signal: AbortSignal): Promise<OriginText | undefined>;
  /** The ids of all streams; `unknown` if the origin cannot list them. */
  list(): Promise<readonly string[] | 'unknown'>;
}

/** STREAM_ORIGIN is a folder with `{stream_id}/index.m3u8`, or an http(s) URL that contains `{stream_id}`. */
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

/** The beginning of the URL of each segment, with a slash at its end; undefined if this service serves the media itself. */
export function mediaBaseOf(config: Config): string | undefined {
  // In the form that clients send, since signatures may include it.
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

  async read(url: URL, signal: AbortSignal): Promise<OriginText | undefined> {
    try {
      await using file = await open(fileURLToPath(url));
      const { size } = await file.stat();
      if (size > MAX_PLAYLIST_BYTES)
        throw new Error(`the playlist is larger than ${MAX_PLAYLIST_BYTES} bytes`);
      signal.throwIfAborted();
      return { text: await decodeInTurns([await file.readFile()]), url };
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

class BadStatus extends Error {
  constructor(readonly status: number) {
    super(`the origin answered ${status}`);
  }
}

/** The `error.type` of a span: a status, the code of a broken connection, or the name of the error. */
function failureType(error: Error): string {
  if (error instanceof BadStatus) return String(error.status);
  return (error.cause as NodeJS.ErrnoException | undefined)?.code ?? error.name;
}

class HttpOrigin implements Origin {
  readonly root: URL;
  readonly folder = undefined;

  /** `redirects` are other origins (`https://host:port`) that this origin may redirect to. */
  constructor(
    private readonly template: string,
    private readonly redirects: readonly string[],
  ) {
    this.root = new URL('.', template.slice(0, template.indexOf('{stream_id}')) + 'x');
  }

  playlistUrl(streamId: string): URL {
    return new URL(this.template.replaceAll('{stream_id}', encodeURIComponent(streamId)));
  }

  /** One span for the read with its redirects. Requests that wait for the same read have no span of it. */
  async read(url: URL, signal: AbortSignal): Promise<OriginText | undefined> {
    const request = currentSpan();
    const span = request?.child('origin GET', 'client', {
      'http.request.method': 'GET',
      // Its query and its credentials may be secrets.
      'url.full': url.origin + url.pathname,
      ...serverAttributes(url),
    });
    try {
      return await this.readTraced(url, signal, (span ?? request)?.headers() ?? {}, span);
    } catch (error) {
      span?.fail(failureType(error as Error));
      throw error;
    } finally {
      span?.end();
    }
  }

  private async readTraced(
    url: URL,
    signal: AbortSignal,
    headers: Record<string, string>,
    span: OpenSpan | undefined,
  ): Promise<OriginText | undefined> {
    const options: RequestInit = { signal, redirect: 'manual', headers };
    let at = url;
    let response = await fetch(at, options);
    for (let sent = 0; response.status >= 300 && response.status < 400; sent++) {
      await response.body?.cancel();
      if (sent === MAX_REDIRECTS) throw new Error('the origin redirects too often');
      at = this.follow(at, response.headers.get('location') ?? '');
      response = await fetch(at, options);
    }
    span?.set({ 'http.response.status_code': response.status });
    if (response.status === 404 || response.status === 410) {
      await response.body?.cancel();
      return undefined;
    }
    if (!response.ok) {
      await response.body?.cancel();
      throw new BadStatus(response.status);
    }
    const chunks: Uint8Array[] = [];
    let size = 0;
    for await (const chunk of (response.body ?? []) as AsyncIterable<Uint8Array>) {
      chunks.push(chunk);
      size += chunk.length;
      if (size > MAX_PLAYLIST_BYTES)
        throw new Error(`the playlist is larger than ${MAX_PLAYLIST_BYTES} bytes`);
      if (chunks.length % CHUNKS_A_TURN === 0) await setImmediate();
    }
    // A playlist from another origin is read as if it were at the requested URL, because its media is there.
    return { text: await decodeInTurns(chunks), url: this.isBelow(at) ? at : url };
  }

  /** Follows only the redirects that the operator allows: a stream id must not give access to internal servers. */
  private follow(from: URL, location: string): URL {
    const target = URL.parse(location, from.href);
    if (target && (this.isBelow(target) || this.redirects.includes(target.origin))) return target;
    throw new Error(
      `the origin redirects to ${target?.origin ?? 'no URL'}, which STREAM_ORIGIN_REDIRECTS does not list`,
    );
  }

  private isBelow(url: URL): boolean {
    return url.href.startsWith(this.root.href);
  }

  async list(): Promise<'unknown'> {
    return 'unknown';
  }
}
