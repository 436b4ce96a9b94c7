// Puts hls.js beside the page, which loads it from there. The package is a development dependency of 25 MB, so neither a
// production install nor the image has it; they have these two files.
import { copyFileSync, mkdirSync } from 'node:fs';

const hls = new URL('../node_modules/hls.js/', import.meta.url);
const vendor = new URL('./vendor/', import.meta.url);

mkdirSync(vendor, { recursive: true });
copyFileSync(new URL('dist/hls.min.js', hls), new URL('hls.min.js', vendor));
copyFileSync(new URL('LICENSE', hls), new URL('hls.min.js.LICENSE', vendor));
