/** Rules of what is stored: Redis, buckets, logs, images. */
import { type Rules, same, statementsOf } from './stack.mts';

export const STORAGE_RULES: Rules = {
  *'Redis encrypts, asks for a token, and fails over'(stack) {
    const { address, values } = stack.redis;
    if (!values.transit_encryption_enabled || String(values.at_rest_encryption_enabled) !== 'true')
      yield [address, 'does not encrypt'];
    if (values.transit_encryption_mode === 'preferred') yield [address, 'talks without TLS as well'];
    if ((values.auth_token ?? '').length < 32) yield [address, 'asks for no token, or a short one'];
    if (!values.automatic_failover_enabled || !values.multi_az_enabled) yield [address, 'does not fail over'];
    for (const group of stack.all<{ parameter: { name: string; value: string }[] }>(
      'aws_elasticache_parameter_group',
    ))
      for (const { name, value } of group.values.parameter)
        if (!['maxmemory-policy=noeviction', 'cluster-enabled=yes'].includes(`${name}=${value}`))
          yield [group.address, `sets ${name} to ${value}`];
  },

  *'a bucket is private, encrypted, and reached over TLS alone'(stack) {
    const buckets = stack.all<{ id: string; arn: string }>('aws_s3_bucket');
    const of = <Values extends { bucket: string }>(type: string, id: string) =>
      stack.all<Values>(type).filter(({ values }) => values.bucket === id);
    for (const { address, values } of buckets) {
      const [block] = of<{ bucket: string } & Record<string, unknown>>(
        'aws_s3_bucket_public_access_block',
        values.id,
      );
      for (const setting of [
        'block_public_acls',
        'block_public_policy',
        'ignore_public_acls',
        'restrict_public_buckets',
      ])
        if (block?.values[setting] !== true) yield [address, `can be made public (${setting})`];
      if (of('aws_s3_bucket_server_side_encryption_configuration', values.id).length !== 1)
        yield [address, 'is not encrypted'];
      const [policy] = of<{ bucket: string; policy: string }>('aws_s3_bucket_policy', values.id);
      const tls = {
        Action: 's3:*',
        Condition: { Bool: { 'aws:SecureTransport': 'false' } },
        Effect: 'Deny',
        Principal: '*',
        Resource: [values.arn, `${values.arn}/*`],
        Sid: 'OnlyOverTls',
      };
      if (
        policy === undefined ||
        !statementsOf(policy.values.policy).some((statement) => same(statement, tls))
      )
        yield [address, 'is reached without TLS as well'];
    }
  },

  *'a log is deleted in time'(stack) {
    for (const { address, values } of stack.all<{ retention_in_days: number | null }>(
      'aws_cloudwatch_log_group',
    ))
      if (values.retention_in_days === null || values.retention_in_days === 0)
        yield [address, 'keeps its events for ever'];
  },

  *'an image stays as it was pushed, as long as it may run'(stack) {
    interface Repository {
      image_tag_mutability: string;
      image_scanning_configuration: { scan_on_push: boolean }[];
    }
    for (const { address, values } of stack.all<Repository>('aws_ecr_repository')) {
      if (values.image_tag_mutability !== 'IMMUTABLE')
        yield [address, 'lets a tag come to mean another image'];
      if (values.image_scanning_configuration[0]?.scan_on_push !== true)
        yield [address, 'does not scan images'];
    }
    interface Rule {
      rulePriority: number;
      selection: { tagStatus: string; tagPrefixList?: string[]; countType: string; countNumber: number };
    }
    for (const { address, values } of stack.all<{ policy: string }>('aws_ecr_lifecycle_policy')) {
      const rules = (JSON.parse(values.policy) as { rules: Rule[] }).rules;
      for (const { selection } of rules)
        if (selection.countType !== 'imageCountMoreThan' || selection.countNumber < 10)
          yield [address, 'leaves fewer than ten ways back'];
      const first = rules.toSorted((a, b) => a.rulePriority - b.rulePriority)[0];
      if (!same(first?.selection.tagPrefixList, ['deployed-']))
        yield [address, 'may expire an image that runs'];
    }
  },
};
