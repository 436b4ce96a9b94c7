import * as hls from 'hls-parser';
import { type Origin } from './origin.js';
import { type Segment } from './phases.js';

/**
 * The segments of a stream's first rendition; undefined where there is no such stream. Rejects where the origin failed,
 * or sent what cannot be served.
 */
export async function readSegments(
  origin: Origin,
  streamId: string,
  signal: AbortSignal,
): Promise<readonly Segment[] | undefined> {
  const url = origin.playlistUrl(streamId);
  const playlist = parse(await origin.read(url, signal));
  if (!playlist?.isMasterPlaylist) return playlist && segmentsOf(playlist, url, origin.root);

  const variant = playlist.variants.find(({ isIFrameOnly }) => isIFrameOnly !== true);
  if (variant === undefined) throw new Error('the multivariant playlist names no rendition');
  const renditionUrl = below(origin.root, variant.uri, url);
  const rendition = parse(await origin.read(renditionUrl, signal));
  if (rendition === undefined || rendition.isMasterPlaylist)
    throw new Error(`the first rendition has no playlist: ${variant.uri}`);
  return segmentsOf(rendition, renditionUrl, origin.root);
}

function segmentsOf(playlist: hls.types.MediaPlaylist, url: URL, root: URL): readonly Segment[] {
  if (!playlist.endlist) throw new Error('the stream is live, which is not served yet');
  const durations = playlist.segments.map(({ duration }) => duration);
  if (!durations.every((duration) => duration >= 0) || !durations.some((duration) => duration > 0))
    throw new Error('the playlist has no segments, or some without a duration');
  const path = (uri: string): string => below(root, uri, url).href.slice(root.href.length);
  return playlist.segments.map(({ uri, duration, byterange, map }) => ({
    path: path(uri),
    durationSeconds: duration,
    ...(map?.uri ? { initPath: path(map.uri) } : {}),
    ...(byterange ? { byteRange: { offset: byterange.offset, length: byterange.length } } : {}),
  }));
}

// The parser complains to the console of what it reads past; what matters is checked here.
hls.setOptions({ silent: true });

function parse(text: string | undefined): hls.types.MasterPlaylist | hls.types.MediaPlaylist | undefined {
  if (text === undefined) return undefined;
  if (!text.startsWith('#EXTM3U')) throw new Error('what the origin sent is not a playlist');
  return hls.parse(text);
}

/** Nothing outside the origin's root is read, signed or handed out, whatever a playlist says. */
function below(root: URL, uri: string, base: URL): URL {
  const url = new URL(uri, base);
  if (!url.href.startsWith(root.href)) throw new Error(`a URI leads out of the origin: ${uri}`);
  return url;
}
