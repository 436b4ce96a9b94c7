import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';

/** The hint for developers in an error about a missing package. */
export const INSTALL_ADVICE =
  'with TEST_INSTALL=apt (or CI=true), the tests install it by apt-get as root on Debian';

/**
 * Installs a Debian package, but only with TEST_INSTALL=apt or CI=true; otherwise throws without changing the machine. A
 * test run must not change a developer's machine without permission. Blocks while apt-get runs.
 */
export function installPackage(name: string): void {
  const { CI, TEST_INSTALL } = process.env;
  if (CI !== 'true' && TEST_INSTALL !== 'apt')
    throw new Error(`not asked to install ${name}: ${INSTALL_ADVICE}`);
  if (process.getuid?.() !== 0 || !existsSync('/usr/bin/apt-get'))
    throw new Error(`cannot install ${name}: this is not root on Debian`);
  // With RUNLEVEL=1 the package does not start its own server.
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
