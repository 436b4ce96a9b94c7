import { createRequire } from 'node:module';

/** The version of the service: that of package.json, which the image has beside dist. */
export const VERSION: string = (createRequire(__filename)('../package.json') as { version: string }).version;
