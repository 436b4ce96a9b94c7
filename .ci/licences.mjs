// Fails where a production dependency has a licence that nobody has agreed to. It reads the lock file alone, which holds
// the licence that each package declares.
import { readFileSync } from 'node:fs';

// They ask for no more than that their text is passed on, which the image does.
const AGREED = new Set([
  '0BSD',
  'Apache-2.0',
  'BlueOak-1.0.0',
  'BSD-2-Clause',
  'BSD-3-Clause',
  'ISC',
  'MIT',
  'Python-2.0',
]);

const { packages } = JSON.parse(readFileSync('package-lock.json', 'utf8'));
const production = Object.entries(packages).filter(([path, { dev }]) => path !== '' && !dev);
const others = production.filter(([, { license }]) => !AGREED.has(license));
for (const [path, { version, license = 'no licence' }] of others)
  console.error(`${path.split('node_modules/').at(-1)}@${version}: ${license}`);
if (others.length > 0 || production.length === 0) {
  console.error('Replace what is listed, or agree to its licence in .ci/licences.mjs.');
  process.exit(1);
}
