import { type LongText } from '../../http/long-texts.js';
import { type Rendition } from '../format.js';
import { type Resource } from '../phases.js';
import { type AttributeList, LineScanner } from './lines.js';
import { type MultivariantPlaylist, PlaylistError, type PlaylistSource, contextOf } from './model.js';
import { LOW_LATENCY_TAGS } from './tags.js';
import { Template } from './template.js';
import { UriWriter } from './uris.js';

/** What a tag says of a rendition. */
type Description = Omit<Rendition, 'url'>;

const MEDIA_TYPES: Readonly<Record<string, Rendition['type']>> = { AUDIO: 'audio', VIDEO: 'video' };

const LINES_A_STEP = 128;

/** Reads a multivariant playlist; yields every few hundred lines. Throws a PlaylistError where it names no variant of the origin's own. */
export function* readMultivariant(
  text: LongText,
  source: PlaylistSource,
): Generator<void, MultivariantPlaylist> {
  const { former } = source;
  const context = contextOf(source);
  if (former?.kind === 'multivariant' && former.template.text.equals(text) && former.context === context)
    return former;

  const writer = new UriWriter(source);
  const renditions: Rendition[] = [];
  const positions = new Map<string, number>();
  const foreign: string[] = [];
  let first: number | undefined;
  let variant: AttributeList | undefined;
  const nameOf =
    (description: Description) =>
    ({ path }: Resource): string => {
      // What several tags say of one playlist, the first says.
      let position = positions.get(path);
      if (position === undefined) {
        position = renditions.push({ url: new URL(source.root.href + path), ...description }) - 1;
        positions.set(path, position);
      }
      return `${position}/index.m3u8`;
    };

  const line = new LineScanner(text);
  for (let lines = 1; line.advance(); lines++) {
    if (lines % LINES_A_STEP === 0) yield;
    writer.scope.beginLine();
    if (LOW_LATENCY_TAGS.has(line.tag)) {
      writer.builder.leaveOut(line.start, line.next);
      continue;
    }
    switch (line.tag) {
      case '#':
        break;
      case '#EXT-X-DEFINE':
        writer.scope.define(line);
        writer.builder.leaveOut(line.start, line.next);
        break;
      case '#EXT-X-STREAM-INF':
        variant = line.attributes(writer.scope.expanded);
        writer.writeAttributes(line, variant);
        break;
      case '': {
        const written = line.value();
        const resource = writer.resolve(written);
        const name = nameOf(describe('#EXT-X-STREAM-INF', variant));
        writer.write(written, line.from, line.to, resource, () => name(resource));
        if (resource.foreign === true) foreign.push(resource.path);
        else if (variant !== undefined) first ??= positions.get(resource.path)!;
        variant = undefined;
        break;
      }
      default: {
        const attributes = line.attributes(writer.scope.expanded);
        writer.writeAttributes(line, attributes, nameOf(describe(line.tag, attributes)));
      }
    }
  }
  if (first === undefined)
    throw new PlaylistError(
      foreign.length > 0
        ? `every variant of the multivariant playlist is on another host: ${foreign[0]}`
        : 'the multivariant playlist names no variant',
    );
  return {
    kind: 'multivariant',
    template: new Template(text, writer.builder.cuts),
    context,
    variables: writer.scope.variables,
    assets: writer.assets,
    renditions,
    first,
  };
}

function describe(tag: string, attributes: AttributeList | undefined): Description {
  if (attributes === undefined) return { type: 'variant' };
  const [name, language] = [attributes.get('NAME'), attributes.get('LANGUAGE')];
  if (tag === '#EXT-X-MEDIA')
    return {
      type: MEDIA_TYPES[attributes.get('TYPE') ?? ''] ?? 'subtitles',
      ...(name === undefined ? {} : { name }),
      ...(language === undefined ? {} : { language }),
    };
  const bandwidth = Number(/^\d{1,15}/.exec(attributes.get('BANDWIDTH') ?? '')?.[0] ?? NaN);
  const codecs = attributes.get('CODECS');
  const size = /^(\d{1,9})x(\d{1,9})$/i.exec(attributes.get('RESOLUTION') ?? '');
  return {
    type: tag === '#EXT-X-STREAM-INF' ? 'variant' : 'trick-play',
    ...(Number.isNaN(bandwidth) ? {} : { bandwidth }),
    ...(codecs === undefined ? {} : { codecs }),
    ...(size === null ? {} : { resolution: { width: Number(size[1]), height: Number(size[2]) } }),
  };
}
