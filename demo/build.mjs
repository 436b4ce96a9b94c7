// Puts the libraries of the demo pages beside them, which load them from there. The packages are development dependencies
// (hls.js has 25 MB), so neither a production install nor the image has them; they have these files.
import { copyFileSync, mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const vendor = new URL('./vendor/', import.meta.url);
const copy = (file, name) =>
  copyFileSync(fileURLToPath(new URL(file, import.meta.url)), new URL(name, vendor));

mkdirSync(vendor, { recursive: true });
copy('../node_modules/hls.js/dist/hls.min.js', 'hls.min.js');
copy('../node_modules/hls.js/LICENSE', 'hls.min.js.LICENSE');
copy('../node_modules/mux.js/dist/mux-mp4.min.js', 'mux.min.js');
copy('../node_modules/mux.js/LICENSE', 'mux.min.js.LICENSE');
