import { REPORTER_KEYS } from '../keys.js';
import { type ScriptRunner, defineScript } from '../script.js';

const ELECT = defineScript({ name: 'elect', subject: 'reporter', args: ['instance', 'lease_ms'] });

/** Takes or renews the lease of the reporter, and tells whether the instance holds it: see elect.lua. */
export async function elect(scripts: ScriptRunner, instance: string, leaseMs: number): Promise<boolean> {
  return (await scripts.run(ELECT, REPORTER_KEYS, { instance, lease_ms: leaseMs })) === 1;
}
