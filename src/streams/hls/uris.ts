import { createHash } from 'node:crypto';
import { type ByteRange, type Resource } from '../phases.js';
import { Addresses } from './addresses.js';
import { type Attribute, type AttributeList, type LineScanner } from './lines.js';
import { extensionOf } from './names.js';
import { type Asset, PlaylistError, type PlaylistSource } from './model.js';
import { VariableScope, rangeOfMap, uriUse } from './tags.js';
import { TemplateBuilder } from './template.js';

/** Puts names of the gate in the place of the origin's own URIs, and makes foreign ones absolute. */
export class UriWriter {
  readonly builder = new TemplateBuilder();
  readonly assets = new Map<string, Asset>();
  readonly scope: VariableScope;
  private readonly addresses: Addresses;
  private readonly namesByPath = new Map<string, string>();

  constructor({ url, root, ownBases, variables }: PlaylistSource) {
    this.addresses = new Addresses(url, root, ownBases);
    this.scope = new VariableScope(url, variables);
  }

  /** Where a URI leads to. Throws where it needs a variable that the playlist does not define. */
  resolve(written: string): Resource {
    const uri = this.scope.expand(written);
    if (uri === undefined)
      throw new PlaylistError(`a URI has a variable that the playlist does not define: ${written}`);
    return this.addresses.resolve(uri);
  }

  /**
   * Writes a URI that stands at a place of the text; `name` is for one of the origin's own. The name of a segment follows
   * its `sequence`.
   */
  write(
    written: string,
    from: number,
    to: number,
    resource: Resource,
    name: () => string,
    sequence?: number,
  ): void {
    if (resource.foreign !== true) this.builder.name(from, to, name(), sequence);
    else if (resource.path !== written) this.builder.replace(from, to, resource.path);
  }

  /** Writes the URIs of a tag. `rendition` names the playlist that a URI leads to, where the tag names playlists. */
  writeAttributes(
    { tag }: LineScanner,
    attributes: AttributeList,
    rendition?: (resource: Resource) => string,
  ): void {
    for (const attribute of attributes) {
      const { name, value, quoted, open, from, to } = attribute;
      const use = value === '' ? undefined : uriUse(tag, name);
      if (use === undefined) {
        this.expand(attribute);
        if (open) this.builder.replace(to, to, '"');
        continue;
      }
      const resource = this.resolve(value);
      // Names of ours may have commas in front of them, at which a value without quotes would end.
      if (!quoted) this.builder.replace(from, from, '"');
      this.write(value, from, to, resource, () =>
        use === 'rendition' && rendition
          ? rendition(resource)
          : this.nameAsset(resource, tag === '#EXT-X-MAP' ? rangeOfMap(attributes) : undefined),
      );
      if (!quoted || open) this.builder.replace(to, to, '"');
    }
  }

  /** The name of a file that is no segment: a hash of its path, the same on every instance. */
  private nameAsset({ path }: Resource, range: ByteRange | undefined): string {
    let name = this.namesByPath.get(path);
    if (name === undefined) {
      const digest = createHash('sha256').update(path).digest('base64url');
      name = `a-${digest.slice(0, 12)}${extensionOf(path)}`;
      this.namesByPath.set(path, name);
    }
    const known = this.assets.get(name);
    const byteRange = known === undefined ? range : spanOf(range, known.byteRange);
    setLatest(this.assets, name, { path, ...(byteRange && { byteRange }) });
    return name;
  }

  /** Variables count in quoted strings and in hexadecimal values, such as an IV (RFC 8216bis, 4.3). */
  private expand({ value, from, to }: Attribute): void {
    if (!value.includes('{$')) return;
    const expanded = this.scope.expand(value);
    if (expanded !== undefined) this.builder.replace(from, to, expanded);
  }
}

/** The bytes from the first to the last of two ranges; undefined, which is the whole file, where one of them is. */
function spanOf(one: ByteRange | undefined, other: ByteRange | undefined): ByteRange | undefined {
  if (one === undefined || other === undefined) return undefined;
  const offset = Math.min(one.offset, other.offset);
  return { offset, length: Math.max(one.offset + one.length, other.offset + other.length) - offset };
}

/** Sets an entry of a map as its latest one. The first entry is the one that was set the longest time ago. */
export function setLatest<K, V>(map: Map<K, V>, key: K, value: V): void {
  map.delete(key);
  map.set(key, value);
}
