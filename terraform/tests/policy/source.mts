/** Rules of what no state holds, read from the source: lifecycle blocks, backends, provisioners. */
import { type Told } from './stack.mts';

/** Lifecycle blocks that ignore changes, by the resource. Somebody else writes these values after Terraform has. */
const IGNORED: Record<string, string> = {
  'aws_ssm_parameter.image_tag': '[insecure_value]',
  'aws_secretsmanager_secret_version.app': '[secret_string, version_stages]',
  'aws_ecs_service.app': '[desired_count]',
};

/** Top-level blocks of Terraform's source: terraform fmt lets each end with a brace in the first column. */
function* blocks(
  sources: ReadonlyMap<string, string>,
): Generator<{ file: string; header: string; body: string }> {
  for (const [file, text] of sources)
    for (const [, header, body] of text.replaceAll(/^\s*#.*$/gm, '').matchAll(/^(\w[^\n]*?) \{\n(.*?)^\}/gms))
      yield { file, header: header!, body: body! };
}

export const SOURCE_RULES: Record<string, (sources: ReadonlyMap<string, string>) => Told> = {
  *'only agreed values may be changed by others'(sources) {
    const found = new Set<string>();
    for (const { header, body } of blocks(sources)) {
      const address = /^resource "(\w+)" "(\w+)"/.exec(header)?.slice(1).join('.');
      const ignored = /^\s*ignore_changes\s*=\s*(\[[^\]]*\]|\w+)/m.exec(body)?.[1];
      if (address === undefined || ignored === undefined) continue;
      found.add(address);
      if (IGNORED[address] !== ignored) yield [address, `ignores changes of ${ignored}`];
    }
    for (const address of Object.keys(IGNORED))
      if (!found.has(address))
        yield [address, `does not ignore changes of ${IGNORED[address]}, which others write`];
  },

  *'the state is encrypted and locked'(sources) {
    for (const { file, header, body } of blocks(sources)) {
      if (header !== 'terraform') continue;
      const backend = /^ {2}backend "(\w+)" \{(.*?)^ {2}\}/ms.exec(body);
      const root = file.startsWith('environments/');
      if (!root && backend !== null) yield [file, 'configures a backend inside the module'];
      if (root && backend?.[1] !== 's3') yield [file, 'keeps the state outside a bucket'];
      if (root && !/^\s*encrypt\s*=\s*true$/m.test(backend?.[2] ?? ''))
        yield [file, 'does not encrypt the state'];
      if (root && !/^\s*use_lockfile\s*=\s*true$/m.test(backend?.[2] ?? ''))
        yield [file, 'does not lock the state'];
    }
  },

  *'the module runs nothing on the machine that applies it, and configures no provider'(sources) {
    for (const { file, header, body } of blocks(sources)) {
      if (header.startsWith('provider ') && !file.startsWith('environments/'))
        yield [file, 'configures a provider'];
      if (/^data "(external|http)"/.test(header) || /^\s*provisioner "/m.test(body))
        yield [file, `runs something in ${header}`];
    }
  },
};
