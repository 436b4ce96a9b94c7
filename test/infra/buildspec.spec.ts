import { execFile } from 'node:child_process';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { parse } from 'yaml';

/**
 * Runs the commands of the buildspec like CodeBuild: those of each phase in one bash, in a temporary folder. Fakes of
 * `aws`, `docker` and the tools that install Terraform record their arguments, and fail on demand. No test uses AWS, and
 * test/containers tests the Dockerfile.
 */

interface Buildspec {
  readonly env: { readonly shell: string; readonly variables?: Record<string, string> };
  readonly phases: Record<string, { readonly commands: readonly string[]; readonly 'on-failure': string }>;
  readonly artifacts?: { readonly files: readonly string[] };
}

const GIVEN = {
  REPOSITORY_URL: '123456789012.dkr.ecr.eu-central-1.amazonaws.com/stream-sessions',
  REPOSITORY_NAME: 'stream-sessions',
  IMAGE_TAG_PARAMETER: '/stream-sessions/image-tag',
  IMAGES_URL: 's3://stream-sessions-artifacts/images',
  CONTAINER_NAME: 'app',
  CODEBUILD_RESOLVED_SOURCE_VERSION: '0123456789abcdef0123456789abcdef01234567',
  CODEBUILD_BUILD_NUMBER: '42',
};
const TAG = '0123456789ab-42';
const IMAGE = `${GIVEN.REPOSITORY_URL}:${TAG}`;
const BASE = 'public.ecr.aws/docker/library/node:24-bookworm-slim';
const BASE_DIGEST = 'public.ecr.aws/docker/library/node@sha256:ba5e';
const IMAGE_DIGEST = `${GIVEN.REPOSITORY_URL}@sha256:d16e57`;
const REPORT = '{"auditReportVersion":2}';

// Each build starts about forty small processes, which takes long on a busy machine.
jest.setTimeout(180_000);

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'streamgate-buildspec-'));
  for (const tool of ['aws', 'docker', 'curl', 'sha256sum', 'unzip']) {
    const script = `#!/bin/bash
[ "$1 $2" = "login --username" ] && cat > "$LOG.password"
[ "$1 $2" = "image inspect" ] || echo "${tool} $*" >> "$LOG"
case "$*" in
  "ecr get-login-password") echo a-password ;;
  "image inspect "*" ${BASE}") echo ${BASE_DIGEST} ;;
  "image inspect "*) echo ${IMAGE_DIGEST} ;;
  *"npm audit"*) echo "$AUDIT" ;;
  "ecr batch-get-image "*) echo '{"a": "manifest"}' ;;
esac
case "${tool} $*" in $FAILS) exit 1;; esac
exit 0
`;
    await writeFile(join(folder, tool), script);
    await chmod(join(folder, tool), 0o755);
  }
});
afterEach(() => rm(folder, { recursive: true }));

/** Runs all phases. A failed phase ends the build, except that post_build always runs and gets the failure. */
async function build(
  fails = 'nothing',
  { audit = REPORT, file = 'buildspec.yml' } = {},
): Promise<{ failed: string[]; asked: string[] }> {
  const { env, phases } = parse(await readFile(file, 'utf8')) as Buildspec;
  expect(env.shell).toBe('bash');
  const variables = Object.entries(env.variables ?? {}).map(([name, value]) => `export ${name}='${value}'`);
  const log = join(folder, 'log');
  const failed: string[] = [];
  let exported = '';
  for (const [name, { commands }] of Object.entries(phases)) {
    if (failed.length > 0 && name !== 'post_build') continue;
    const script = [exported, ...variables, ...commands, `export -p > "${folder}/env"`].join('\n');
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
            AUDIT: audit,
            CODEBUILD_BUILD_SUCCEEDING: failed.length === 0 ? '1' : '0',
          },
        },
        (error) => {
          resolve(error === null);
        },
      );
    });
    if (!succeeded) failed.push(name);
    // The next phases get the exported variables of a phase.
    exported = await readFile(join(folder, 'env'), 'utf8')
      .then((text) =>
        text
          .split('\n')
          .filter((line) => / (IMAGE_TAG|BASE_IMAGE_DIGEST)=/.test(line))
          .join('\n'),
      )
      .catch(() => '');
  }
  return { failed, asked: (await readFile(log, 'utf8')).trim().split('\n') };
}

const dependencies = 'streamgate-dependencies';
const source = (): string => `--volume ${folder}:/app --volume /app/node_modules`;

describe('the build', () => {
  it('checks the commit and the stack, builds an image on a pinned base, pushes it, and keeps its bill of materials', async () => {
    const { failed, asked } = await build();
    expect(failed).toEqual([]);
    expect(asked).toEqual([
      expect.stringMatching(/^(aws ecr get-login-password|docker login)/),
      expect.stringMatching(/^(aws ecr get-login-password|docker login)/),
      `docker pull --quiet ${BASE}`,
      `docker build --build-arg NODE_IMAGE=${BASE_DIGEST} --target dependencies --tag ${dependencies} .`,
      `docker run --rm ${source()} --env CI=true ${dependencies} npm run check`,
      expect.stringMatching(
        /^curl .*\/terraform_[\d.]+_linux_(amd64|arm64)\.zip .*\/terraform_[\d.]+_SHA256SUMS$/,
      ),
      expect.stringMatching(/^sha256sum --check --ignore-missing terraform_[\d.]+_SHA256SUMS$/),
      expect.stringMatching(/^unzip .* -d \/tmp\/terraform$/),
      expect.stringMatching(
        new RegExp(
          `^docker run --rm ${source()} --volume /tmp/terraform/terraform:/usr/local/bin/terraform:ro ${dependencies} sh -c .*npm run tf:check$`,
        ),
      ),
      `docker run --rm ${dependencies} npm audit --json --omit=dev --audit-level=high`,
      `docker run --rm ${dependencies} npm run --silent sbom`,
      expect.stringMatching(
        new RegExp(
          `^docker build --tag ${IMAGE} --build-arg NODE_IMAGE=${BASE_DIGEST} --build-arg BUILD_COMMIT=\\S+ --label .* \\.$`,
        ),
      ),
      `docker push ${IMAGE}`,
      `aws s3 cp --only-show-errors sbom.cdx.json ${GIVEN.IMAGES_URL}/${TAG}/sbom.cdx.json`,
      `aws s3 cp --only-show-errors image.json ${GIVEN.IMAGES_URL}/${TAG}/image.json`,
    ]);
    expect(asked.slice(0, 2)).toContain(
      'docker login --username AWS --password-stdin 123456789012.dkr.ecr.eu-central-1.amazonaws.com',
    );
    expect(await readFile(join(folder, 'log.password'), 'utf8')).toBe('a-password\n');
    expect(JSON.parse(await readFile(join(folder, 'imagedefinitions.json'), 'utf8'))).toEqual([
      { name: 'app', imageUri: IMAGE },
    ]);
    expect(await readFile(join(folder, 'image-tag'), 'utf8')).toBe(TAG);
    expect(JSON.parse(await readFile(join(folder, 'image.json'), 'utf8'))).toEqual({
      image: IMAGE_DIGEST,
      base: BASE_DIGEST,
      commit: GIVEN.CODEBUILD_RESOLVED_SOURCE_VERSION,
    });
  });

  it('labels the image with its commit, its tag and its base', async () => {
    const { asked } = await build();
    const labels = new Map(
      [
        ...asked
          .find((line) => line.startsWith('docker build --tag'))!
          .matchAll(/--label org\.opencontainers\.image\.(\S+?)=(\S+)/g),
      ].map(([, name, value]) => [name, value]),
    );
    expect(Object.fromEntries(labels)).toEqual({
      title: 'streamgate',
      version: TAG,
      revision: GIVEN.CODEBUILD_RESOLVED_SOURCE_VERSION,
      created: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:]{8}Z$/),
      'base.name': BASE,
      'base.digest': 'sha256:ba5e',
    });
  });

  it.each([
    ['the login', 'docker login*'],
    ['the password', 'aws ecr*'],
    ['fetching the base', 'docker pull*'],
    ['a check', '*npm run check'],
    ['fetching Terraform', 'curl*'],
    ['the checksum of Terraform', 'sha256sum*'],
    ['a check of the stack', '*npm run tf:check'],
    ['the audit, with findings', '*npm audit*'],
    ['the bill of materials', '*npm run --silent sbom'],
    ['the build of the image', 'docker build --tag 1234*'],
    ['the push', 'docker push*'],
    ['keeping the bill of materials', 'aws s3*'],
  ])('deploys nothing if this fails: %s', async (_, fails) => {
    const { failed, asked } = await build(fails);
    expect(failed).not.toEqual([]);
    // No later step runs: there is no push, and no file for the next stages.
    expect(asked.some((line) => line.startsWith('docker push'))).toBe(/push|s3/.test(fails));
    await expect(readFile(join(folder, 'imagedefinitions.json'))).rejects.toThrow('ENOENT');
    await expect(readFile(join(folder, 'image-tag'))).rejects.toThrow('ENOENT');
  });

  it('continues if the registry does not answer the audit, since that is no finding about the image', async () => {
    const { failed, asked } = await build('*npm audit*', { audit: '{"error":{"code":"ENOTFOUND"}}' });
    expect(failed).toEqual([]);
    expect(asked).toContain(`docker push ${IMAGE}`);
  });

  it('passes on the files for the deployment and for its record', async () => {
    const { artifacts, phases } = parse(await readFile('buildspec.yml', 'utf8')) as Buildspec;
    expect(artifacts?.files).toEqual(['imagedefinitions.json', 'image-tag', 'image.json', 'sbom.cdx.json']);
    expect(Object.values(phases).map((phase) => phase['on-failure'])).toEqual(['ABORT', 'ABORT', 'ABORT']);
  });
});

describe('the record of a deployment', () => {
  const file = 'terraform/record.buildspec.yml';
  const put = `aws ssm put-parameter --name ${GIVEN.IMAGE_TAG_PARAMETER} --type String --value ${TAG} --overwrite`;
  const tagged = `aws ecr describe-images --repository-name stream-sessions --image-ids imageTag=deployed-${TAG}`;
  beforeEach(() => writeFile(join(folder, 'image-tag'), TAG));

  it('tags the image as deployed, so that the repository keeps it, and writes the tag for Terraform', async () => {
    expect(await build('aws ecr describe-images*', { file })).toEqual({
      failed: [],
      asked: [
        tagged,
        `aws ecr batch-get-image --repository-name stream-sessions --image-ids imageTag=${TAG} --query images[0].imageManifest --output text`,
        `aws ecr put-image --repository-name stream-sessions --image-tag deployed-${TAG} --image-manifest {"a": "manifest"}`,
        put,
      ],
    });
  });

  it('does not tag an image twice, because the repository would refuse it', async () => {
    expect(await build('nothing', { file })).toEqual({ failed: [], asked: [tagged, put] });
  });

  it('writes no tag for an image that does not exist', async () => {
    const { failed, asked } = await build('aws ecr *', { file });
    expect(failed).toEqual(['build']);
    expect(asked).not.toContain(put);
  });
});
