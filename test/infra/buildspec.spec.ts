import { execFile } from 'node:child_process';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { parse } from 'yaml';

/**
 * What CodeBuild would run, run: each phase's commands in one bash, as CodeBuild does, in a folder of the test's own.
 * `aws` and `docker` write down what they are asked and fail on demand: there is no AWS here to ask, and what docker does
 * with the Dockerfile is tested where there is an engine (test/containers).
 */

interface Buildspec {
  readonly env: { readonly shell: string };
  readonly phases: Record<string, { readonly commands: readonly string[]; readonly 'on-failure': string }>;
  readonly artifacts: { readonly files: readonly string[] };
}

const GIVEN = {
  REPOSITORY_URL: '123456789012.dkr.ecr.eu-central-1.amazonaws.com/stream-sessions',
  IMAGE_TAG_PARAMETER: '/stream-sessions/image-tag',
  CONTAINER_NAME: 'app',
  CODEBUILD_RESOLVED_SOURCE_VERSION: '0123456789abcdef0123456789abcdef01234567',
  CODEBUILD_BUILD_NUMBER: '42',
};
const TAG = '0123456789ab-42';
const IMAGE = `${GIVEN.REPOSITORY_URL}:${TAG}`;

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'streamgate-buildspec-'));
  for (const tool of ['aws', 'docker']) {
    const script = `#!/bin/bash
[ "$1 $2" = "login --username" ] && cat > "$LOG.password"
echo "${tool} $*" >> "$LOG"
case "${tool} $*" in $FAILS) exit 1;; esac
[ "$1 $2" = "ecr get-login-password" ] && echo a-password
exit 0
`;
    await writeFile(join(folder, tool), script);
    await chmod(join(folder, tool), 0o755);
  }
});
afterEach(() => rm(folder, { recursive: true }));

/** Runs all phases; one that fails ends the build, but for the last, which is told of it. */
async function build(fails = 'nothing'): Promise<{ failed: string[]; asked: string[] }> {
  const { env, phases } = parse(await readFile('buildspec.yml', 'utf8')) as Buildspec;
  expect(env.shell).toBe('bash');
  const log = join(folder, 'log');
  const failed: string[] = [];
  let exported = '';
  for (const [name, { commands }] of Object.entries(phases)) {
    if (failed.length > 0 && name !== 'post_build') continue;
    const script = [exported, ...commands, `export -p > "${folder}/env"`].join('\n');
    const succeeded = await new Promise<boolean>((resolve) => {
      execFile(
        '/bin/bash',
        ['-c', script],
        {
          cwd: folder,
          env: {
            ...GIVEN,
            PATH: [folder, process.env.PATH].join(delimiter),
            LOG: log,
            FAILS: fails,
            CODEBUILD_BUILD_SUCCEEDING: failed.length === 0 ? '1' : '0',
          },
        },
        (error) => {
          resolve(error === null);
        },
      );
    });
    if (!succeeded) failed.push(name);
    // What a phase exports, the next ones have.
    exported = await readFile(join(folder, 'env'), 'utf8')
      .then((text) =>
        text
          .split('\n')
          .filter((line) => line.includes(' IMAGE_TAG='))
          .join('\n'),
      )
      .catch(() => '');
  }
  return { failed, asked: (await readFile(log, 'utf8')).trim().split('\n') };
}

describe('the build', () => {
  it('checks the commit, builds its image, pushes it under a tag of its own and says which it is', async () => {
    const { failed, asked } = await build();
    expect(failed).toEqual([]);
    expect(asked).toEqual([
      expect.stringMatching(/^(aws ecr get-login-password|docker login)/),
      expect.stringMatching(/^(aws ecr get-login-password|docker login)/),
      'docker build --target dependencies --tag streamgate-dependencies .',
      `docker run --rm --volume ${folder}:/app --volume /app/node_modules --env CI=true streamgate-dependencies npm run check`,
      'docker run --rm streamgate-dependencies npm audit --omit=dev --audit-level=high',
      'docker run --rm streamgate-dependencies npm run --silent sbom',
      `docker build --build-arg BUILD_COMMIT=${GIVEN.CODEBUILD_RESOLVED_SOURCE_VERSION} --tag ${IMAGE} .`,
      `docker push ${IMAGE}`,
      `aws ssm put-parameter --name ${GIVEN.IMAGE_TAG_PARAMETER} --type String --value ${TAG} --overwrite`,
    ]);
    expect(asked.slice(0, 2)).toContain(
      'docker login --username AWS --password-stdin 123456789012.dkr.ecr.eu-central-1.amazonaws.com',
    );
    expect(await readFile(join(folder, 'log.password'), 'utf8')).toBe('a-password\n');
    expect(JSON.parse(await readFile(join(folder, 'imagedefinitions.json'), 'utf8'))).toEqual([
      { name: 'app', imageUri: IMAGE },
    ]);
  });

  it.each([
    ['the login', 'docker login*'],
    ['the password', 'aws ecr*'],
    ['a check', '*npm run check'],
    ['the audit', '*npm audit*'],
    ['the list of what is in it', '*npm run --silent sbom'],
    ['the build of the image', 'docker build --build-arg BUILD_COMMIT=* --tag 1234*'],
    ['the push', 'docker push*'],
    ['the parameter', 'aws ssm*'],
  ])('deploys nothing where %s fails', async (_, fails) => {
    const { failed, asked } = await build(fails);
    expect(failed).not.toEqual([]);
    // What comes after the step that failed is not begun: the push before the parameter, and all before both.
    const begun = asked.filter((line) => /docker push|put-parameter/.test(line)).length;
    expect(begun).toBe(fails === 'aws ssm*' ? 2 : fails === 'docker push*' ? 1 : 0);
    await expect(readFile(join(folder, 'imagedefinitions.json'))).rejects.toThrow('ENOENT');
  });

  it('hands on the file that names the image, for the deployment, and the list of what is in it', async () => {
    const { artifacts, phases } = parse(await readFile('buildspec.yml', 'utf8')) as Buildspec;
    expect(artifacts.files).toEqual(['imagedefinitions.json', 'sbom.cdx.json']);
    expect(Object.values(phases).map((phase) => phase['on-failure'])).toEqual(['ABORT', 'ABORT', 'ABORT']);
  });
});
