import { type Ended, type Refused, refusal } from './api.js';

/** The part of hls.js that is used here. An `Hls` of any version 1.x fits. */
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
 * Plays a `playbackUrl` in hls.js. The gate counts each request for a segment as a request for its phase, so that no
 * other code has to keep time. If the gate refuses (403), the player stops and `onRefusal` gets the same refusal that
 * `watch` would return.
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

/** The JSON body of a failed request. hls.js reads playlists as text and segments as bytes, problems included. */
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
