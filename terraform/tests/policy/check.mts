/**
 * Rules that the stack must never break, checked over all resources that Terraform makes, whatever their names. Terraform's
 * own test language can only name single resources, so that it overlooks one that somebody adds.
 *
 * Reads what `terraform test -json -verbose` prints: the state after each run, applied to a mocked AWS. What a state does
 * not hold (lifecycle blocks, backends) is read from the source.
 *
 * Usage: node check.mts FOLDER FILE...   FOLDER holds the module, each FILE the output of a test.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DELIVERY_RULES } from './delivery.mts';
import { EDGE_RULES } from './edge.mts';
import { NETWORK_RULES } from './network.mts';
import { RIGHTS_RULES } from './rights.mts';
import { SOURCE_RULES } from './source.mts';
import { type Finding, type Resource, type Rules, Stack, type State } from './stack.mts';
import { STORAGE_RULES } from './storage.mts';
import { TASKS_RULES } from './tasks.mts';

const RULES: Rules = {
  ...RIGHTS_RULES,
  ...NETWORK_RULES,
  ...TASKS_RULES,
  ...EDGE_RULES,
  ...STORAGE_RULES,
  ...DELIVERY_RULES,
};

/** What the runs of a test made: the states that `terraform test -json -verbose` prints. */
export function statesOf(output: string): State[] {
  return output
    .split('\n')
    .filter((line) => line.includes('"type":"test_state"'))
    .map((line) => {
      const {
        '@testfile': file,
        '@testrun': run,
        test_state: state,
      } = JSON.parse(line) as {
        '@testfile': string;
        '@testrun': string;
        test_state: { root_module?: { resources?: Resource[] } };
      };
      return { file, run, resources: state.root_module?.resources ?? [] };
    });
}

/** What each run said of itself, for a person: the results, and the assertions that failed. */
export function* told(output: string): Generator<string> {
  for (const line of output
    .split('\n')
    .filter((one) => /"type":"(test_run|diagnostic|test_summary)"/.test(one))) {
    const event = JSON.parse(line) as {
      '@message': string;
      '@level': 'info' | 'warn' | 'error';
      type: string;
      test_run?: { progress: string };
      diagnostic?: { detail: string; range?: { filename: string; start: { line: number } } };
    };
    if (event.type === 'test_run' && event.test_run?.progress !== 'complete') continue;
    // Warnings tell only that environments, which are roots, are tested from within the module.
    if (event['@level'] === 'warn') continue;
    const { range, detail } = event.diagnostic ?? {};
    const place = range === undefined ? '' : ` (${range.filename}:${range.start.line})`;
    yield `${event['@message']}${detail === undefined ? '' : `: ${detail}`}${place}`;
  }
}

/** Source files of the module and of the environments beside it, by their path. */
function sourcesOf(folder: string): Map<string, string> {
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter(
    (file) => file.endsWith('.tf') && !file.includes('.terraform/'),
  );
  return new Map(files.map((file) => [file, readFileSync(join(folder, file), 'utf8')]));
}

/** Everything that breaks a rule, in the source of the folder and in the states. */
export function findingsOf(folder: string, states: readonly State[]): Finding[] {
  const findings: Finding[] = [];
  const sources = sourcesOf(folder);
  for (const [rule, find] of Object.entries(SOURCE_RULES))
    for (const [address, problem] of find(sources)) findings.push({ rule, address, problem });
  for (const { run, resources } of states) {
    const stack = new Stack(resources);
    for (const [rule, find] of Object.entries(RULES))
      try {
        for (const [address, problem] of find(stack))
          findings.push({ rule, address, problem: `${problem} (run ${run})` });
      } catch (error) {
        findings.push({ rule, address: 'the stack', problem: `${String(error)} (run ${run})` });
      }
  }
  return findings;
}

if (import.meta.main) {
  const [folder, ...files] = process.argv.slice(2);
  const outputs = files.map((file) => readFileSync(file, 'utf8'));
  for (const output of outputs) for (const line of told(output)) console.log(line);
  const states = outputs.flatMap(statesOf);
  const findings = findingsOf(folder!, states);
  for (const { rule, address, problem } of findings) console.log(`Broken: ${rule}\n  ${address}: ${problem}`);
  const rules = Object.keys(RULES).length + Object.keys(SOURCE_RULES).length;
  console.log(`${rules} rules over ${states.length} states: ${findings.length} broken.`);
  // Without a state nothing was looked at.
  process.exit(findings.length === 0 && states.length > 0 ? 0 : 1);
}
