import { Injectable } from '@nestjs/common';
import { LRUCache } from 'lru-cache';
import { Clock } from '../clock.js';
import { Config } from '../config/config.js';
import { mediaBaseOf } from './origin.js';
import { type Phase, type Segment, type Stream } from './phases.js';
import { MediaSigner } from './signing/media-signer.js';

/** Where this service serves the media of a folder. */
export const MEDIA_PATH = 'media';

/** Signed, about 500 bytes a segment: 50 MB at most. */
const MAX_ISSUED_SEGMENTS = 100_000;

/** A phase with its signed URLs, which viewers at the same place of a stream share. */
export interface IssuedPhase extends Phase {
  /** Unix milliseconds; when the URLs stop working. */
  readonly expiresAt: number;
}

/** Issues the signed URLs of media: of a whole phase, and of single files. */
@Injectable()
export class MediaUrls {
  private readonly issued = new LRUCache<string, IssuedPhase>({
    maxSize: MAX_ISSUED_SEGMENTS,
    sizeCalculation: ({ segments }) => segments.length + 1,
  });
  private readonly externalBase: string | undefined;
  private readonly phaseMs: number;
  private readonly expireAfterMs: number;
  private readonly shareMs: number;

  constructor(
    private readonly signer: MediaSigner,
    private readonly clock: Clock,
    config: Config,
  ) {
    this.externalBase = mediaBaseOf(config);
    this.phaseMs = config.phaseMs;
    this.expireAfterMs = config.policy.expireAfterMs;
    this.shareMs = Math.min(1_000, config.phaseMs / 10);
  }

  /** What the URL of each segment begins with; `self` is the address by which the client reached this service. */
  base(self: string): string {
    return this.externalBase ?? `${self}/${MEDIA_PATH}/`;
  }

  /** The signed URL of one file, which lives for X. `path` is below the origin's root. */
  of(path: string, self: string): string {
    return this.base(self) + this.signer.sign(path, this.signer.endOf(this.clock.now() + this.phaseMs));
  }

  /**
   * The phase with signed URLs that live for n·X at most. A signature costs more than everything else here, so requests
   * for the same phase within a tenth of X share one, and the URLs of the later requests live that much shorter.
   */
  issue(stream: Stream, index: number, rendition?: number): IssuedPhase {
    // The newest phase of a live stream grows.
    const grown = stream.live ? stream.phase(index).segments.at(-1)?.path : '';
    const key = `${stream.streamId}/${rendition ?? ''}/${index}/${grown}`;
    const shared = this.issued.get(key);
    const expiresAt = this.signer.endOf(this.clock.now() + this.expireAfterMs);
    // If the clock was set back, the shared URLs would live longer than n·X.
    if (shared && shared.expiresAt <= expiresAt && shared.expiresAt > expiresAt - this.shareMs) return shared;
    const phase = stream.phase(index);
    const issued = { ...phase, segments: this.signAll(phase.segments, expiresAt), expiresAt };
    this.issued.set(key, issued);
    return issued;
  }

  /** Segments share an initialisation section, and a file of which they are ranges: each path is signed once. */
  private signAll(segments: readonly Segment[], expiresAt: number): Segment[] {
    const signed = new Map<string, string>();
    const sign = (path: string): string => {
      let url = signed.get(path);
      if (url === undefined) signed.set(path, (url = this.signer.sign(path, expiresAt)));
      return url;
    };
    return segments.map((segment) => ({
      ...segment,
      path: sign(segment.path),
      ...(segment.initPath === undefined ? {} : { initPath: sign(segment.initPath) }),
    }));
  }
}
