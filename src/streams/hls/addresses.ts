import { type Resource } from '../phases.js';
import { copyOf } from './lines.js';

/** What stands for a URI that no player can fetch, such as a file of the service's machine outside the streams. */
const NOWHERE = 'about:invalid';

const ABSOLUTE = /^[a-z][a-z0-9+.-]*:/i;

/** A relative reference whose characters and segments the URL parser leaves as they are. */
const PLAIN = /^(?![./?])(?!.*\/[./?])[\w\-~/.]*[\w\-~](\?[\w\-~/.=&%*,+]*)?$/;

/**
 * Where the URIs of one playlist lead to. What lies below the origin's root, or below one of its public names, is the
 * origin's own: it is signed and served through the gate. http and https are the same there, because packagers behind a
 * proxy do not know which one players use. Everything else is foreign: it stays an absolute URI.
 *
 * A relative URI that climbs out of the root of an HTTP origin becomes an absolute URI of the origin's host. So a
 * playlist that names such a file shows viewers the address of the origin.
 */
export class Addresses {
  private readonly roots: readonly string[];
  /** The folder of the playlist below the root; undefined where the playlist lies elsewhere. */
  private readonly folder: string | undefined;

  constructor(
    private readonly base: URL,
    root: URL,
    ownBases: readonly string[] = [],
  ) {
    this.roots = [root, ...ownBases.map((own) => new URL(own))].flatMap(hrefsOf);
    const path = base.href.split(/[?#]/, 1)[0]!;
    this.folder = path.startsWith(root.href)
      ? path.slice(root.href.length, path.lastIndexOf('/') + 1)
      : undefined;
  }

  resolve(uri: string): Resource {
    // Most URIs of a playlist are plain names; the URL parser would take most of the time of reading.
    if (this.folder !== undefined && PLAIN.test(uri)) return { path: copyOf(this.folder + uri) };
    const url = URL.parse(uri, this.base.href);
    const root = url && this.roots.find((one) => url.href.startsWith(one));
    if (url && root) {
      if (url.hash !== '') url.hash = ''; // a signature behind it would never be sent
      return { path: url.href.slice(root.length) };
    }
    if (url?.protocol === 'file:') return { path: NOWHERE, foreign: true };
    // An absolute URI stays as it is written: key systems compare it by its characters.
    if (ABSOLUTE.test(uri)) return { path: copyOf(uri), foreign: true };
    return { path: url?.href ?? NOWHERE, foreign: true };
  }
}

/** The base of an origin's own URIs, with a slash at its end: by http and by https, unless it names a port. */
function hrefsOf({ href, protocol, port }: URL): string[] {
  const base = href.replace(/\/*$/, '/');
  if (port !== '' || protocol === 'file:') return [base];
  const rest = base.slice(base.indexOf(':'));
  return [base, (protocol === 'https:' ? 'http' : 'https') + rest];
}
