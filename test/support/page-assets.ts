/** The paths of all files that a browser loads for a page of `url`, and of linked pages, each with its status. */
export async function loadPage(url: string, page = '/'): Promise<Record<string, number>> {
  const statuses: Record<string, number> = {};
  const load = async (path: string): Promise<void> => {
    if (path in statuses) return;
    const reply = await fetch(new URL(path, url));
    const text = await reply.text();
    statuses[path] = reply.status;
    for (const named of namedIn(text, reply.headers.get('content-type') ?? ''))
      await load(new URL(named, new URL(path, url)).pathname);
  };
  await load(page);
  return statuses;
}

function namedIn(text: string, type: string): string[] {
  // The files of the documentation are left out, because another package provides that page.
  const pattern = type.startsWith('text/html')
    ? /(?:src|href)="(\/[^"]+)"/g
    : type.includes('javascript')
      ? /^(?:import|export) [^'"]*from '([./][^']+)'/gm
      : /url\(['"]?([./][^'")]+)/g;
  return [...text.matchAll(pattern)].map(([, named]) => named!);
}
