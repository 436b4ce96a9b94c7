// Puts the libraries of the demo pages beside them, which load them from there. The packages are development dependencies
// (hls.js has 25 MB), so neither a production install nor the image has them; they have these files.
import { copyFileSync, mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const vendor = new URL('./vendor/', import.meta.url);
const copy = (url, name) => copyFileSync(fileURLToPath(url), new URL(name, vendor));

mkdirSync(vendor, { recursive: true });
copy(import.meta.resolve('hls.js/dist/hls.min.js'), 'hls.min.js');
copy(new URL('../node_modules/hls.js/LICENSE', import.meta.url), 'hls.min.js.LICENSE');
copy(import.meta.resolve('mux.js/dist/mux-mp4.min.js'), 'mux.min.js');
copy(new URL('../node_modules/mux.js/LICENSE', import.meta.url), 'mux.min.js.LICENSE');
