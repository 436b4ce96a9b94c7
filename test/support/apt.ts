import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';

/** What an error says to a developer whose machine lacks something. */
export const INSTALL_ADVICE =
  'with TEST_INSTALL=apt (or CI=true), the tests install it by apt-get as root on Debian';

/**
 * Installs a Debian package. Throws without touching the machine unless that was asked for by TEST_INSTALL=apt or by
 * CI=true, because a test run must not change a developer's own machine unasked. Blocks while apt-get runs.
 */
export function installPackage(name: string): void {
  const { CI, TEST_INSTALL } = process.env;
  if (CI !== 'true' && TEST_INSTALL !== 'apt')
    throw new Error(`not asked to install ${name}: ${INSTALL_ADVICE}`);
  if (process.getuid?.() !== 0 || !existsSync('/usr/bin/apt-get'))
    throw new Error(`cannot install ${name}: this is not root on Debian`);
  // RUNLEVEL keeps the package from starting a server of its own.
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' };
  const apt = (...words: string[]): unknown =>
    execFileSync('apt-get', ['-qq', '-o', 'DPkg::Lock::Timeout=300', ...words], { env, stdio: 'pipe' });
  const install = () => apt('install', '-y', '--no-install-recommends', name);
  try {
    install();
  } catch {
    apt('update');
    install();
  }
}
