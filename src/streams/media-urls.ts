import { Injectable } from '@nestjs/common';
import { LRUCache } from 'lru-cache';
import { Clock } from '../clock.js';
import { Config } from '../config/config.js';
import { currentSpan } from '../http/request-notes.js';
import { mediaBaseOf } from './origin.js';
import {
  type ByteRange,
  type Phase,
  type Resource,
  type Segment,
  type SegmentKey,
  type Stream,
} from './phases.js';
import { type OpenSpan } from '../observability/tracing.js';
import { MediaSigner } from './signing/media-signer.js';

/** The path where this service serves the media of a folder. */
export const MEDIA_PATH = 'media';

/** A signed segment is about 500 bytes: 50 MB at most. */
const MAX_ISSUED_SEGMENTS = 100_000;

/** A phase with its signed URLs. Viewers who request the same phase share it for a short time. */
export interface IssuedPhase extends Phase {
  /** Unix milliseconds; when the URLs stop working. */
  readonly expiresAt: number;
}

/** Issues signed URLs of media, for a whole phase or for a single file. */
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
  private readonly signing: string;

  constructor(
    private readonly signer: MediaSigner,
    private readonly clock: Clock,
    config: Config,
  ) {
    this.externalBase = mediaBaseOf(config);
    this.phaseMs = config.phaseMs;
    this.expireAfterMs = config.policy.expireAfterMs;
    this.signing = config.MEDIA_SIGNING;
    this.shareMs = Math.min(1_000, config.phaseMs / 10);
  }

  /** The beginning of each segment's URL. `self` is the address that the client used for this service. */
  base(self: string): string {
    return this.externalBase ?? `${self}/${MEDIA_PATH}/`;
  }

  /** The signed URL of one file, or of a part of it, which lives for X. `path` is below the origin's root. */
  of({ path, byteRange }: Pick<Segment, 'path' | 'byteRange'>, self: string): string {
    const span = this.beginSigning();
    const signed = this.sign(path, this.signer.endOf(this.clock.now() + this.phaseMs), byteRange);
    span?.end();
    return this.base(self) + signed;
  }

  /**
   * The phase with signed URLs that live for at most n·X. Signing costs more than the rest of this method. Therefore
   * requests for the same phase within a tenth of X share the URLs, and those of later requests live slightly shorter.
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
    const span = this.beginSigning();
    const issued = { ...phase, segments: this.signAll(phase.segments, expiresAt), expiresAt };
    span?.end();
    this.issued.set(key, issued);
    return issued;
  }

  private beginSigning(): OpenSpan | undefined {
    return currentSpan()?.child('sign', 'internal', { 'streamgate.signing': this.signing });
  }

  /** A URL is for a range only where this service serves the media, since no other server checks ranges. */
  private sign(path: string, expiresAt: number, range: ByteRange | undefined): string {
    return this.signer.sign(path, expiresAt, this.externalBase === undefined ? range : undefined);
  }

  /** Segments share an initialisation section, and may share a file: each URL is signed once. */
  private signAll(segments: readonly Segment[], expiresAt: number): Segment[] {
    const urls = new Map<string, string>();
    const sign = (path: string, range: ByteRange | undefined): string => {
      const key = range === undefined ? path : `${path} ${range.offset}-${range.length}`;
      let url = urls.get(key);
      if (url === undefined) urls.set(key, (url = this.sign(path, expiresAt, range)));
      return url;
    };
    // What lies on another host is handed out as it is.
    const signed = <R extends Resource & { readonly byteRange?: ByteRange }>(resource: R): R =>
      resource.foreign ? resource : { ...resource, path: sign(resource.path, resource.byteRange) };
    const withKey = <R extends { readonly key?: SegmentKey }>(resource: R): R =>
      resource.key?.path === undefined
        ? resource
        : { ...resource, key: signed({ ...resource.key, path: resource.key.path }) };
    return segments.map((segment) => ({
      ...withKey(signed(segment)),
      ...(segment.init === undefined ? {} : { init: withKey(signed(segment.init)) }),
    }));
  }
}
