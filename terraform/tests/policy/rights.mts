/** Rules of rights: types of resources, roles, policies. */
import { type Rules, list, same, statementsOf } from './stack.mts';

/** The types that the rules below were written for. Whoever adds a type decides what must hold for it. */
const TYPES = new Set([
  'aws_acm_certificate',
  'aws_acm_certificate_validation',
  'aws_appautoscaling_policy',
  'aws_appautoscaling_target',
  'aws_cloudwatch_dashboard',
  'aws_cloudwatch_event_rule',
  'aws_cloudwatch_event_target',
  'aws_cloudwatch_log_group',
  'aws_cloudwatch_log_resource_policy',
  'aws_cloudwatch_metric_alarm',
  'aws_codebuild_project',
  'aws_codeconnections_connection',
  'aws_codepipeline',
  'aws_default_security_group',
  'aws_ecr_lifecycle_policy',
  'aws_ecr_repository',
  'aws_ecs_cluster',
  'aws_ecs_cluster_capacity_providers',
  'aws_ecs_service',
  'aws_ecs_task_definition',
  'aws_eip',
  'aws_elasticache_parameter_group',
  'aws_elasticache_replication_group',
  'aws_elasticache_subnet_group',
  'aws_flow_log',
  'aws_iam_role',
  'aws_iam_role_policy',
  'aws_internet_gateway',
  'aws_lb',
  'aws_lb_listener',
  'aws_lb_listener_rule',
  'aws_lb_target_group',
  'aws_nat_gateway',
  'aws_route',
  'aws_route53_record',
  'aws_route_table',
  'aws_route_table_association',
  'aws_s3_bucket',
  'aws_s3_bucket_lifecycle_configuration',
  'aws_s3_bucket_policy',
  'aws_s3_bucket_public_access_block',
  'aws_s3_bucket_server_side_encryption_configuration',
  'aws_secretsmanager_secret',
  'aws_secretsmanager_secret_version',
  'aws_security_group',
  'aws_service_discovery_private_dns_namespace',
  'aws_service_discovery_service',
  'aws_sns_topic',
  'aws_sns_topic_policy',
  'aws_sns_topic_subscription',
  'aws_ssm_parameter',
  'aws_subnet',
  'aws_vpc',
  'aws_vpc_endpoint',
  'aws_vpc_security_group_egress_rule',
  'aws_vpc_security_group_ingress_rule',
  'aws_wafv2_web_acl',
  'aws_wafv2_web_acl_association',
  'aws_wafv2_web_acl_logging_configuration',
]);

/** What each role may do, by its address; '*' where AWS knows no narrower resource. Nothing else may be granted. */
const LOGS = ['logs:CreateLogStream', 'logs:PutLogEvents'];
const PULL = ['ecr:BatchCheckLayerAvailability', 'ecr:BatchGetImage', 'ecr:GetDownloadUrlForLayer'];
const KEY = ['kms:Decrypt', 'kms:GenerateDataKey'];
const GRANTS: Record<string, { service: string; narrow: string[]; all?: string[] }> = {
  'aws_iam_role.execution': {
    service: 'ecs-tasks',
    narrow: [...LOGS, ...PULL, ...KEY, 'secretsmanager:GetSecretValue'],
    all: ['ecr:GetAuthorizationToken'],
  },
  'aws_iam_role.task': { service: 'ecs-tasks', narrow: [] },
  'aws_iam_role.agent[0]': { service: 'ecs-tasks', narrow: [...LOGS, 'logs:DescribeLogStreams'] },
  'aws_iam_role.build[0]': {
    service: 'codebuild',
    narrow: [
      ...LOGS,
      ...PULL,
      ...KEY,
      's3:GetObject',
      's3:GetObjectVersion',
      's3:PutObject',
      'ecr:CompleteLayerUpload',
      'ecr:InitiateLayerUpload',
      'ecr:PutImage',
      'ecr:UploadLayerPart',
    ],
    all: ['ecr:GetAuthorizationToken'],
  },
  'aws_iam_role.record[0]': {
    service: 'codebuild',
    narrow: [
      ...LOGS,
      ...KEY,
      's3:GetObject',
      's3:GetObjectVersion',
      'ssm:PutParameter',
      'ecr:BatchGetImage',
      'ecr:DescribeImages',
      'ecr:PutImage',
    ],
  },
  'aws_iam_role.pipeline[0]': {
    service: 'codepipeline',
    narrow: [
      ...KEY,
      'codeconnections:UseConnection',
      'codestar-connections:UseConnection',
      's3:GetBucketVersioning',
      's3:GetBucketAcl',
      's3:GetBucketLocation',
      's3:GetObject',
      's3:GetObjectVersion',
      's3:PutObject',
      'codebuild:BatchGetBuilds',
      'codebuild:StartBuild',
      'ecs:DescribeServices',
      'ecs:UpdateService',
      'ecs:TagResource',
      'iam:PassRole',
      'sns:Publish',
    ],
    all: ['ecs:DescribeTaskDefinition', 'ecs:RegisterTaskDefinition'],
  },
};
/** What ECS Exec adds to the role of the tasks. */
const EXEC = {
  narrow: [...LOGS, 'logs:DescribeLogStreams'],
  all: [
    'logs:DescribeLogGroups',
    'ssmmessages:CreateControlChannel',
    'ssmmessages:CreateDataChannel',
    'ssmmessages:OpenControlChannel',
    'ssmmessages:OpenDataChannel',
  ],
};

export const RIGHTS_RULES: Rules = {
  *'each type of resource has its rules'(stack) {
    for (const { address, type } of stack.resources)
      if (!TYPES.has(type)) yield [address, `${type} is a type that no rule looks at`];
  },

  *'a role has only the policies that are written for it'(stack) {
    interface Role {
      name: string;
      managed_policy_arns: string[];
      inline_policy: unknown[];
      assume_role_policy: string;
    }
    for (const { address, values } of stack.all<Role>('aws_iam_role')) {
      const grants = GRANTS[address];
      if (grants === undefined) {
        yield [address, 'is a role that no rule looks at'];
        continue;
      }
      if (values.managed_policy_arns.length > 0)
        yield [address, `has the managed policy ${values.managed_policy_arns.join()}`];
      if (values.inline_policy.length > 0) yield [address, 'has a policy inside'];
      const trust = {
        Action: 'sts:AssumeRole',
        Condition: { StringEquals: { 'aws:SourceAccount': '123456789012' } },
        Effect: 'Allow',
        Principal: { Service: `${grants.service}.amazonaws.com` },
      };
      if (!same(statementsOf(values.assume_role_policy), [trust]))
        yield [address, 'can be taken by another than its service in this account'];
      if (!values.name.includes('us-east-1'))
        yield [address, 'has a name that a second region would want as well'];
    }
  },

  *'a role may do only what it needs'(stack) {
    const roles = new Map(
      stack.all<{ id: string }>('aws_iam_role').map(({ address, values }) => [values.id, address]),
    );
    for (const { address, values } of stack.all<{ role: string; policy: string }>('aws_iam_role_policy')) {
      const role = roles.get(values.role) ?? 'a role of somebody else';
      const grants = GRANTS[role];
      const exec = role === 'aws_iam_role.task' && stack.execAllowed ? EXEC : { narrow: [], all: [] };
      const narrow = [...(grants?.narrow ?? []), ...exec.narrow];
      const all = [...(grants?.all ?? []), ...exec.all];
      for (const statement of statementsOf(values.policy)) {
        if (statement.Effect !== 'Allow' || 'NotAction' in statement || 'NotResource' in statement)
          yield [address, 'says what is not meant instead of what is'];
        for (const action of list(statement.Action))
          for (const resource of list(statement.Resource))
            if (resource === '*' ? !all.includes(action) : !narrow.includes(action))
              yield [address, `lets ${role} do ${action} to ${resource}`];
            else if (resource !== '*' && /\*./.test(resource))
              yield [address, `lets ${role} do ${action} to whatever matches ${resource}`];
        if (list(statement.Action).includes('iam:PassRole')) {
          const wanted = { StringEquals: { 'iam:PassedToService': 'ecs-tasks.amazonaws.com' } };
          if (!same(statement.Condition, wanted))
            yield [address, 'passes roles to something else than ECS tasks'];
          for (const resource of list(statement.Resource))
            if (!/:role\/[a-z0-9-]+-us-east-1-(execution|task)$/.test(resource))
              yield [address, `passes the role ${resource}`];
        }
      }
    }
  },

  *'a policy of a resource admits only this account’s services'(stack) {
    const policies = stack.all<{ policy?: string; policy_document?: string }>(
      'aws_s3_bucket_policy',
      'aws_sns_topic_policy',
      'aws_cloudwatch_log_resource_policy',
    );
    for (const { address, values } of policies)
      for (const statement of statementsOf(values.policy ?? values.policy_document!)) {
        const equals = statement.Condition?.StringEquals ?? {};
        const account = equals['aws:SourceAccount'] ?? equals['AWS:SourceOwner'];
        const ownPath = list(statement.Resource).every((one) => one.endsWith('/AWSLogs/123456789012/*'));
        if (statement.Effect === 'Allow' && account !== '123456789012' && !ownPath)
          yield [address, `${statement.Sid ?? 'a statement'} admits other accounts`];
        if (statement.Effect === 'Allow' && list(statement.Action).some((action) => action.includes('*')))
          yield [address, `${statement.Sid ?? 'a statement'} allows what a wildcard matches`];
        if ('NotPrincipal' in statement || 'NotAction' in statement)
          yield [address, 'says what is not meant instead of what is'];
      }
  },
};
