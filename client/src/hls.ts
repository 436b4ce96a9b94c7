import { type Ended, type Refused, refusal } from './api.js';

/** As much of hls.js as is needed; an `Hls` of any 1.x fits. */
export interface HlsLike {
  on(event: never, listener: (event: never, data: HlsErrorData) => void): void;
  loadSource(url: string): void;
  stopLoad(): void;
}

interface HlsErrorData {
  readonly response?: { readonly code: number };
  /** The XMLHttpRequest that failed. */
  readonly networkDetails?: unknown;
}

/**
 * Plays a `playbackUrl` in hls.js. The gate counts each segment as the session asking for its phase, so nothing else
 * has to keep time. Where it refuses (403), the player stops and `onRefusal` gets what `watch` would have given.
 */
export function playThroughGate(
  hls: HlsLike,
  playbackUrl: string,
  onRefusal: (refusal: Refused | Ended) => void,
): void {
  hls.on('hlsError' as never, (_event, { response, networkDetails }) => {
    const refused = response?.code === 403 ? refusal(bodyOf(networkDetails)) : undefined;
    if (!refused) return;
    hls.stopLoad();
    onRefusal(refused);
  });
  hls.loadSource(playbackUrl);
}

/** Playlists are fetched as text, segments as bytes; the problem comes as whichever was asked for. */
function bodyOf(request: unknown): unknown {
  const { response } = (request ?? {}) as { response?: unknown };
  try {
    return JSON.parse(
      typeof response === 'string' ? response : new TextDecoder().decode(response as ArrayBuffer),
    );
  } catch {
    return undefined;
  }
}
