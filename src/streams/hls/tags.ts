import { type ByteRange } from '../phases.js';
import { type AttributeList, type LineScanner } from './lines.js';
import { PlaylistError, type Variables } from './model.js';

/** What is done with the URI of a tag. */
type UriUse =
  /** Another playlist: led through the gate as a rendition. */
  | 'rendition'
  /** A file: led through the gate, which answers with a redirect to its signed URL. */
  | 'asset';

/**
 * The attributes that hold URIs, by tag. `docs/streams.md` has the whole table. URIs of other hosts stay there,
 * whatever the tag.
 */
const URI_ATTRIBUTES: Readonly<Record<string, Readonly<Record<string, UriUse>>>> = {
  '#EXT-X-MEDIA': { URI: 'rendition' },
  '#EXT-X-I-FRAME-STREAM-INF': { URI: 'rendition' },
  // Thumbnails as Roku and Shaka read them; no RFC has the tag.
  '#EXT-X-IMAGE-STREAM-INF': { URI: 'rendition' },
  '#EXT-X-KEY': { URI: 'asset' },
  '#EXT-X-SESSION-KEY': { URI: 'asset' },
  '#EXT-X-SESSION-DATA': { URI: 'asset' },
  '#EXT-X-MAP': { URI: 'asset' },
  '#EXT-X-CONTENT-STEERING': { 'SERVER-URI': 'asset' },
  '#EXT-X-DATERANGE': { 'X-ASSET-URI': 'asset', 'X-ASSET-LIST': 'asset' },
};

/** Attributes of tags that are not known: by their names they hold a URI. */
const URI_NAME = /^(.*-)?UR[IL]$/;

/**
 * Tags of low latency, which are left out. The gate reads a playlist once for all its viewers, so what it has is up to
 * half a target duration old, and it holds back no reply: a player that is told of parts or of blocking reloads would
 * ask without pause. Without these lines the stream is an ordinary live stream.
 */
export const LOW_LATENCY_TAGS: ReadonlySet<string> = new Set([
  '#EXT-X-SERVER-CONTROL',
  '#EXT-X-PART-INF',
  '#EXT-X-PART',
  '#EXT-X-PRELOAD-HINT',
  '#EXT-X-RENDITION-REPORT',
  '#EXT-X-PREFETCH',
  '#EXT-X-PREFETCH-DISCONTINUITY',
]);

/** What is done with the URI in an attribute; undefined where the attribute holds none. */
export function uriUse(tag: string, attribute: string): UriUse | undefined {
  const known = URI_ATTRIBUTES[tag];
  if (known?.[attribute] !== undefined) return known[attribute];
  return URI_NAME.test(attribute) ? 'asset' : undefined;
}

/** Characters that the value of a variable may have. */
const MAX_VALUE_LENGTH = 4_096;

/**
 * Characters that all references of a playlist together may be replaced by: as many as a playlist without variables may
 * have. Each expansion counts, also where one reference is expanded twice.
 */
const MAX_EXPANDED_LENGTH = 16 * 1024 * 1024;

/** References that a line may have: each takes a microsecond or more, and a line is read in one piece. */
const MAX_REFERENCES_A_LINE = 4_096;

const REFERENCE = /\{\$([\w-]+)\}/g;

/**
 * Reads EXT-X-DEFINE and expands references. The gate leaves the tag out and expands every reference: a player would take
 * the value of QUERYPARAM from the gate's own URL, and IMPORT from a playlist that the gate may have made.
 */
export class VariableScope {
  readonly variables = new Map<string, string>();
  private expandedLength = 0;
  private ofLine = 0;

  constructor(
    private readonly url: URL,
    private readonly imported: Variables | undefined,
  ) {}

  /**
   * Takes one EXT-X-DEFINE. A variable without a value is an error where a URI needs it, and nowhere else. Throws where the
   * value is too long: a value may name other variables, so each line could double the one before.
   */
  define(line: LineScanner): void {
    const attributes = line.attributes(this.expanded);
    const [name, imported, parameter] = ['NAME', 'IMPORT', 'QUERYPARAM'].map((one) => attributes.get(one));
    if (name !== undefined) this.set(name, attributes.get('VALUE') ?? '');
    else if (imported !== undefined) this.set(imported, this.imported?.get(imported));
    else if (parameter !== undefined) this.set(parameter, this.url.searchParams.get(parameter) ?? undefined);
  }

  /** Tells that what is expanded from now on stands in another line. */
  beginLine(): void {
    this.ofLine = 0;
  }

  /** Replaces each `{$name}`; undefined where the playlist defines no such variable. Throws where that gets too long or too many. */
  expand(text: string): string | undefined {
    if (!text.includes('{$')) return text;
    let missing = false;
    const expanded = text.replace(REFERENCE, (reference, name: string) => {
      if (++this.ofLine > MAX_REFERENCES_A_LINE)
        throw new PlaylistError(`a line has more than ${MAX_REFERENCES_A_LINE} references to variables`);
      const value = this.variables.get(name);
      if (value === undefined) missing = true;
      this.expandedLength += value?.length ?? 0;
      if (this.expandedLength > MAX_EXPANDED_LENGTH)
        throw new PlaylistError(
          `the playlist expands variables to more than ${MAX_EXPANDED_LENGTH} characters`,
        );
      return value ?? reference;
    });
    return missing ? undefined : expanded;
  }

  /** The same for text that may keep a reference to an unknown variable. */
  readonly expanded = (text: string): string => this.expand(text) ?? text;

  private set(name: string, value: string | undefined): void {
    if (value === undefined) return;
    if (value.length > MAX_VALUE_LENGTH)
      throw new PlaylistError(`the value of a variable has more than ${MAX_VALUE_LENGTH} characters`);
    this.variables.set(name, value);
  }
}

/** `length[@offset]` (RFC 8216bis, 4.4.4.2); undefined where it is none. */
export function readRange(
  value: string,
): { readonly length: number; readonly offset: number | undefined } | undefined {
  const found = /^(\d{1,15})(?:\s*@\s*(\d{1,15}))?/.exec(value);
  if (found === null) return undefined;
  return { length: Number(found[1]), offset: found[2] === undefined ? undefined : Number(found[2]) };
}

/** The part of its file that an EXT-X-MAP names; undefined for the whole file. */
export function rangeOfMap(attributes: AttributeList): ByteRange | undefined {
  const range = readRange(attributes.get('BYTERANGE') ?? '');
  return range && { offset: range.offset ?? 0, length: range.length };
}
