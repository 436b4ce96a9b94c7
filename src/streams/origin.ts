import { open, readdir, stat } from 'node:fs/promises';
import { resolve, sep } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { type Config } from '../config.js';

/** A playlist is text of a few kilobytes; two hours in segments of two seconds are about 300 KB. */
const MAX_PLAYLIST_BYTES = 4 * 1024 * 1024;

/** Where streams come from. Whatever goes wrong in `read`, a time-out included, rejects; only absence is data. */
export interface Origin {
  /** What the paths of segments are relative to; ends in a slash. Nothing outside it is read or handed out. */
  readonly root: URL;
  /** Where the playlist of a stream is. */
  playlistUrl(streamId: string): URL;
  /** The text at a URL below the root; undefined where there is nothing. */
  read(url: URL, signal: AbortSignal): Promise<string | undefined>;
  /** The streams that there are. */
  list(): Promise<readonly string[] | 'unknown'>;
}

/** `origin` is a folder holding `{stream_id}/index.m3u8`, or an http(s) URL with `{stream_id}` in it. */
export function openOrigin(origin: string): Origin & { readonly folder: string | undefined } {
  return /^https?:/.test(origin) ? new HttpOrigin(origin) : new FolderOrigin(origin);
}

/** What the URL of each segment begins with, ending in a slash; undefined where that is this service's own address. */
export function mediaBaseOf({ MEDIA_BASE_URL, STREAM_ORIGIN }: Config): string | undefined {
  // As clients send it, since signatures may cover it.
  if (MEDIA_BASE_URL !== undefined) return new URL(MEDIA_BASE_URL).href.replace(/\/*$/, '/');
  const { folder, root } = openOrigin(STREAM_ORIGIN);
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

  async read(url: URL, signal: AbortSignal): Promise<string | undefined> {
    try {
      await using file = await open(fileURLToPath(url));
      const { size } = await file.stat();
      if (size > MAX_PLAYLIST_BYTES)
        throw new Error(`the playlist is larger than ${MAX_PLAYLIST_BYTES} bytes`);
      signal.throwIfAborted();
      return await file.readFile('utf8');
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

  constructor(private readonly template: string) {
    this.root = new URL('.', template.slice(0, template.indexOf('{stream_id}')) + 'x');
  }

  playlistUrl(streamId: string): URL {
    return new URL(this.template.replaceAll('{stream_id}', encodeURIComponent(streamId)));
  }

  async read(url: URL, signal: AbortSignal): Promise<string | undefined> {
    const response = await fetch(url, { signal, redirect: 'error' });
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
    return Buffer.concat(chunks).toString('utf8');
  }

  async list(): Promise<'unknown'> {
    return 'unknown';
  }
}
