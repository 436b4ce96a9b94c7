// Writes the tables of variables into README.md, from the sections of the configuration as they are built (dist/).
import { readFileSync, writeFileSync } from 'node:fs';
import { withTables } from '../dist/config/table.js';

writeFileSync('README.md', withTables(readFileSync('README.md', 'utf8')));
