/** Everything that a browser loads for the page at `url`, and the pages that it links to, as paths; with each status. */
export async function loadPage(url: string): Promise<Record<string, number>> {
  const statuses: Record<string, number> = {};
  const load = async (path: string): Promise<void> => {
    if (path in statuses) return;
    const reply = await fetch(new URL(path, url));
    const text = await reply.text();
    statuses[path] = reply.status;
    for (const named of namedIn(text, reply.headers.get('content-type') ?? ''))
      await load(new URL(named, new URL(path, url)).pathname);
  };
  await load('/');
  return statuses;
}

function namedIn(text: string, type: string): string[] {
  // Not what the documentation loads, which is a page of another package.
  const pattern = type.startsWith('text/html')
    ? /(?:src|href)="(\/[^"]+)"/g
    : type.includes('javascript')
      ? /^(?:import|export) [^'"]*from '([./][^']+)'/gm
      : /url\(['"]?([./][^'")]+)/g;
  return [...text.matchAll(pattern)].map(([, named]) => named!);
}
