/**
 * Applies each mutant to a copy of the module, lets Terraform apply the copy to a mocked AWS, and prints which rule notices
 * it. Fails if a mutant goes unnoticed.
 *
 * Starting Terraform takes longer than a run. Mutants therefore share copies. No two of a copy edit the same text, or must be
 * noticed by the same words about the same resource: what a rule says then has one cause. With --each every mutant has a copy
 * of its own. Mutants that the source alone gives away need no Terraform.
 *
 * Usage: node mutate.mts FOLDER [--each]   FOLDER is an initialised copy of the module that may be written to.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { MUTANTS, type Mutant } from './mutants.mts';
import { findingsOf, statesOf, told } from './check.mts';
import { type Finding } from './stack.mts';

const [folder = '.', flag] = process.argv.slice(2);
/** Copies that one Terraform applies: the state of each is 14 MB of output. */
const COPIES_A_PROCESS = 10;

/** Files of the module, which a copy holds. */
const files = readdirSync(folder).filter((file) => /\.(tf|yml)$/.test(file) || file === 'environments');

function write(copy: readonly Mutant[], place: string): void {
  for (const file of files) cpSync(join(folder, file), join(place, file), { recursive: true });
  for (const { name, file, from, to } of copy) {
    const text = readFileSync(join(place, file), 'utf8');
    if (from !== '' && text.split(from).length !== 2)
      throw new Error(`the mutant "${name}" no longer fits: ${file} must hold its text once`);
    writeFileSync(join(place, file), from === '' ? text + to : text.replace(from, () => to));
  }
}

const isNoticed = ({ rule, address, problem }: Mutant, findings: readonly Finding[]): boolean =>
  findings.some((one) => one.rule === rule && one.address === address && one.problem.includes(problem));
const tell = (mutant: Mutant, noticed: boolean): void => {
  if (!noticed) unnoticed += 1;
  const by = noticed ? `${mutant.rule}: ${mutant.address} ${mutant.problem}` : 'NOTHING';
  console.log(`${mutant.name.padEnd(width)} | ${by}`);
};

let unnoticed = 0;
const width = Math.max(...MUTANTS.map(({ name }) => name.length));
console.log(`${'mutant'.padEnd(width)} | caught by`);

const copies: Mutant[][] = [];
for (const mutant of MUTANTS) {
  const place = join(folder, 'mutants', 'source');
  write([mutant], place);
  if (isNoticed(mutant, findingsOf(place, []))) {
    tell(mutant, true);
    continue;
  }
  const isTold = (one: Mutant) => one.address === mutant.address && one.problem === mutant.problem;
  const isEdit = (one: Mutant) => one.from !== '' && one.file === mutant.file && one.from === mutant.from;
  const fits = (copy: Mutant[]) => !copy.some((one) => isTold(one) || isEdit(one));
  const copy = flag === '--each' ? undefined : copies.find(fits);
  if (copy === undefined) copies.push([mutant]);
  else copy.push(mutant);
}

for (let first = 0; first < copies.length; first += COPIES_A_PROCESS) {
  const chunk = copies.slice(first, first + COPIES_A_PROCESS);
  for (const directory of ['mutants', 'mutant-tests'])
    rmSync(join(folder, directory), { recursive: true, force: true });
  mkdirSync(join(folder, 'mutant-tests'));
  cpSync(join(folder, 'tests/terraform.tfvars'), join(folder, 'mutant-tests/terraform.tfvars'));
  for (const [index, copy] of chunk.entries()) {
    write(copy, join(folder, 'mutants', String(index)));
    writeFileSync(
      join(folder, `mutant-tests/${index}.tftest.hcl`),
      `mock_provider "aws" {\n  source = "./tests/mocks"\n}\nrun "mutants" {\n  module {\n    source = "./mutants/${index}"\n  }\n}\n`,
    );
  }
  const init = ['init', '-no-color', '-backend=false', '-input=false', '-test-directory=mutant-tests'];
  const plugins = process.env.TF_PLUGIN_DIR ?? '';
  execFileSync('terraform', plugins === '' ? init : [...init, `-plugin-dir=${plugins}`], {
    cwd: folder,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  // Into a file: Terraform dies of a pipe that closes, and leaves its providers behind.
  const output = join(folder, 'mutants.jsonl');
  const log = openSync(output, 'w');
  spawnSync('terraform', ['test', '-json', '-verbose', '-test-directory=mutant-tests'], {
    cwd: folder,
    stdio: ['ignore', log, 'inherit'],
  });
  const text = readFileSync(output, 'utf8');
  const states = statesOf(text);
  for (const [index, copy] of chunk.entries()) {
    const own = states.filter(({ file }) => file === `mutant-tests/${index}.tftest.hcl`);
    const findings = findingsOf(join(folder, 'mutants', String(index)), own);
    for (const mutant of copy) tell(mutant, own.length > 0 && isNoticed(mutant, findings));
    if (own.length === 0) {
      console.log(`  The copy of these mutants could not be applied:`);
      for (const line of told(text)) if (line.includes('Error')) console.log(`    ${line}`);
    }
  }
}
console.log(`${MUTANTS.length} mutants in ${copies.length} copies: ${unnoticed} went unnoticed.`);
process.exit(unnoticed === 0 ? 0 : 1);
