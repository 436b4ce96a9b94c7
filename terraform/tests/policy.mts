/**
 * Rules that the stack must never break, checked over all resources that Terraform makes, whatever their names. Terraform's
 * own test language can only name single resources, so that it overlooks one that somebody adds.
 *
 * Reads what `terraform test -json -verbose` prints: the state after each run, applied to a mocked AWS. What a state does
 * not hold (lifecycle blocks, backends) is read from the source.
 *
 * Usage: node policy.mts FOLDER FILE...   FOLDER holds the module, each FILE the output of a test.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Finding {
  readonly rule: string;
  readonly address: string;
  readonly problem: string;
}
interface Resource<Values = Record<string, unknown>> {
  readonly address: string;
  readonly type: string;
  readonly mode: string;
  readonly values: Values;
}
export interface State {
  readonly file: string;
  readonly run: string;
  readonly resources: readonly Resource[];
}
type Told = Iterable<readonly [address: string, problem: string]>;

/** Everything that one run made. */
class Stack {
  readonly resources: readonly Resource[];

  constructor(resources: readonly Resource[]) {
    this.resources = resources.filter(({ mode }) => mode === 'managed');
  }

  all<Values>(...types: string[]): Resource<Values>[] {
    return this.resources.filter(({ type }) => types.includes(type)) as unknown as Resource<Values>[];
  }
  /** The only resource of its type that the condition holds for. */
  one<Values>(type: string, condition: (values: Values) => boolean = () => true): Resource<Values> {
    const found = this.all<Values>(type).filter(({ values }) => condition(values));
    if (found.length !== 1) throw new Error(`expected one ${type}, found ${found.length}`);
    return found[0]!;
  }

  /** The service that the load balancer leads to; others are helpers. */
  get service(): Resource<Service> {
    return this.one<Service>('aws_ecs_service', ({ load_balancer }) => load_balancer.length > 0);
  }
  get taskGroup(): string {
    return this.service.values.network_configuration[0]!.security_groups[0]!;
  }
  get balancerGroup(): string {
    return this.one<{ security_groups: string[] }>('aws_lb').values.security_groups[0]!;
  }
  get redis(): Resource<Redis> {
    return this.one<Redis>('aws_elasticache_replication_group');
  }
  get redisGroup(): string {
    return this.redis.values.security_group_ids[0]!;
  }
  get execAllowed(): boolean {
    return this.service.values.enable_execute_command === true;
  }
  /** Port of the service. */
  get port(): number {
    return this.service.values.load_balancer[0]!.container_port;
  }
}

interface Service {
  readonly cluster: string;
  readonly load_balancer: readonly { container_port: number; container_name: string }[];
  readonly network_configuration: readonly { security_groups: string[]; subnets: string[] }[];
  readonly enable_execute_command: boolean | null;
  readonly deployment_minimum_healthy_percent: number;
  readonly deployment_maximum_percent: number;
  readonly deployment_circuit_breaker: readonly { enable: boolean; rollback: boolean }[];
  readonly alarms: readonly { enable: boolean; rollback: boolean; alarm_names: string[] }[];
  readonly launch_type: string | null;
  readonly capacity_provider_strategy: readonly { capacity_provider: string; base: number; weight: number }[];
}
interface Redis {
  readonly security_group_ids: string[];
  readonly at_rest_encryption_enabled: string | boolean;
  readonly transit_encryption_enabled: boolean;
  readonly transit_encryption_mode: string | null;
  readonly auth_token: string | null;
  readonly automatic_failover_enabled: boolean;
  readonly multi_az_enabled: boolean;
}
interface SecurityRule {
  readonly security_group_id: string;
  readonly referenced_security_group_id: string | null;
  readonly cidr_ipv4: string | null;
  readonly cidr_ipv6: string | null;
  readonly prefix_list_id: string | null;
  readonly ip_protocol: string;
  readonly from_port: number;
  readonly to_port: number;
}
interface Statement {
  readonly Sid?: string;
  readonly Effect: string;
  readonly Action?: string | string[];
  readonly NotAction?: unknown;
  readonly Resource?: string | string[];
  readonly NotResource?: unknown;
  readonly Principal?: string | Record<string, string | string[]>;
  readonly NotPrincipal?: unknown;
  readonly Condition?: Record<string, Record<string, string>>;
}

const list = (value: string | readonly string[] | undefined): readonly string[] =>
  value === undefined ? [] : typeof value === 'string' ? [value] : value;
const same = (one: unknown, other: unknown): boolean => JSON.stringify(one) === JSON.stringify(other);
const sorted = (values: Iterable<string>): string[] => [...values].sort((a, b) => a.localeCompare(b));
const statementsOf = (policy: string): Statement[] =>
  (JSON.parse(policy) as { Statement: Statement[] }).Statement;

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
      ...['s3:GetObject', 's3:GetObjectVersion', 's3:PutObject'],
      ...['ecr:CompleteLayerUpload', 'ecr:InitiateLayerUpload', 'ecr:PutImage', 'ecr:UploadLayerPart'],
    ],
    all: ['ecr:GetAuthorizationToken'],
  },
  'aws_iam_role.record[0]': {
    service: 'codebuild',
    narrow: [
      ...LOGS,
      ...KEY,
      ...['s3:GetObject', 's3:GetObjectVersion', 'ssm:PutParameter'],
      ...['ecr:BatchGetImage', 'ecr:DescribeImages', 'ecr:PutImage'],
    ],
  },
  'aws_iam_role.pipeline[0]': {
    service: 'codepipeline',
    narrow: [
      ...KEY,
      ...['codeconnections:UseConnection', 'codestar-connections:UseConnection'],
      ...['s3:GetBucketVersioning', 's3:GetBucketAcl', 's3:GetBucketLocation'],
      ...['s3:GetObject', 's3:GetObjectVersion', 's3:PutObject'],
      ...['codebuild:BatchGetBuilds', 'codebuild:StartBuild', 'ecs:DescribeServices', 'ecs:UpdateService'],
      ...['ecs:TagResource', 'iam:PassRole', 'sns:Publish'],
    ],
    all: ['ecs:DescribeTaskDefinition', 'ecs:RegisterTaskDefinition'],
  },
};
/** What ECS Exec adds to the role of the tasks. */
const EXEC = {
  narrow: [...LOGS, 'logs:DescribeLogStreams'],
  all: [
    'logs:DescribeLogGroups',
    ...['ssmmessages:CreateControlChannel', 'ssmmessages:CreateDataChannel'],
    ...['ssmmessages:OpenControlChannel', 'ssmmessages:OpenDataChannel'],
  ],
};

/** What a container definition may say. Whoever adds a key decides what must hold for it. */
const CONTAINER_KEYS = new Set([
  ...[
    'name',
    'image',
    'essential',
    'user',
    'portMappings',
    'environment',
    'secrets',
    'readonlyRootFilesystem',
  ],
  ...['linuxParameters', 'stopTimeout', 'logConfiguration'],
]);

/** Lifecycle blocks that ignore changes, by the resource. Somebody else writes these values after Terraform has. */
const IGNORED: Record<string, string> = {
  'aws_ssm_parameter.image_tag': '[insecure_value]',
  'aws_secretsmanager_secret_version.app': '[secret_string, version_stages]',
  'aws_ecs_service.app': '[desired_count]',
};

const RULES: Record<string, (stack: Stack) => Told> = {
  *'each type of resource has its rules'(stack) {
    for (const { address, type } of stack.resources)
      if (!TYPES.has(type)) yield [address, `${type} is a type that no rule looks at`];
  },

  *'a route leads only where its tier may go'(stack) {
    interface Route {
      route_table_id: string;
      destination_cidr_block: string | null;
      destination_ipv6_cidr_block: string | null;
      gateway_id: string | null;
      nat_gateway_id: string | null;
    }
    const gateways = stack.all<{ id: string }>('aws_internet_gateway').map(({ values }) => values.id);
    const nats = stack.all<{ id: string }>('aws_nat_gateway').map(({ values }) => values.id);
    const tables = new Map<string, string>();
    for (const { values } of stack.all<{ subnet_id: string; route_table_id: string }>(
      'aws_route_table_association',
    ))
      tables.set(values.subnet_id, values.route_table_id);
    const tablesOf = (subnets: readonly string[]) =>
      new Set(subnets.flatMap((subnet) => tables.get(subnet) ?? []));
    const redis = tablesOf(
      stack.one<{ subnet_ids: string[] }>('aws_elasticache_subnet_group').values.subnet_ids,
    );
    const balancer = tablesOf(stack.one<{ subnets: string[] }>('aws_lb').values.subnets);
    for (const { address, values } of stack.all<Route>('aws_route')) {
      const { route_table_id: table, gateway_id: gateway, nat_gateway_id: nat } = values;
      if (redis.has(table)) yield [address, 'the subnets of Redis have a way out of the VPC'];
      else if (gateway !== null && !(balancer.has(table) && gateways.includes(gateway)))
        yield [address, 'another tier than the public one leads to the internet'];
      else if (gateway === null && !(nat !== null && nats.includes(nat)))
        yield [address, 'leads to something else than the internet gateway or NAT'];
      if ((values.destination_cidr_block ?? values.destination_ipv6_cidr_block) === null)
        yield [address, 'has another destination than addresses'];
    }
    for (const { address, values } of stack.all<{ route: unknown[] }>('aws_route_table'))
      if (values.route.length > 0) yield [address, 'has a route inside the table'];
    for (const { address, values } of stack.all<{ id: string }>('aws_subnet'))
      if (!tables.has(values.id)) yield [address, 'has the main route table of the VPC'];
  },

  *'a subnet gives no public address by itself'(stack) {
    for (const { address, values } of stack.all<{ map_public_ip_on_launch: boolean | null }>('aws_subnet'))
      if (values.map_public_ip_on_launch === true) yield [address, 'gives public addresses'];
  },

  *'a security group lets in only what it must'(stack) {
    const endpoints = new Set(
      stack
        .all<{ security_group_ids: string[] | null }>('aws_vpc_endpoint')
        .flatMap(({ values }) => values.security_group_ids ?? []),
    );
    for (const { address, values } of stack.all<SecurityRule>('aws_vpc_security_group_ingress_rule')) {
      const { security_group_id: group, from_port: from, to_port: to } = values;
      if (values.ip_protocol !== 'tcp' || from !== to) yield [address, 'is for more than one TCP port'];
      if (values.prefix_list_id !== null) yield [address, 'lets in a list of prefixes'];
      const anywhere = values.cidr_ipv4 !== null || values.cidr_ipv6 !== null;
      if (group === stack.balancerGroup) {
        if (![80, 443].includes(from)) yield [address, 'opens another port than 80 and 443'];
      } else if (anywhere) yield [address, 'lets in addresses instead of a security group'];
      else if (group === stack.redisGroup) {
        if (values.referenced_security_group_id !== stack.taskGroup || from !== 6379)
          yield [address, 'lets more into Redis than the tasks'];
      } else if (group === stack.taskGroup) {
        if (from !== stack.port) yield [address, 'opens another port of the tasks than the service’s'];
      } else if (!endpoints.has(group) || from !== 443) yield [address, 'opens a group that lets nothing in'];
    }
  },

  *'a security group lets out only what it must'(stack) {
    for (const { address, values } of stack.all<SecurityRule>('aws_vpc_security_group_egress_rule')) {
      const { security_group_id: group, from_port: from, to_port: to } = values;
      if (values.ip_protocol !== 'tcp' || from !== to) yield [address, 'is for more than one TCP port'];
      if (values.cidr_ipv4 !== null || values.cidr_ipv6 !== null || values.prefix_list_id !== null) {
        if (from !== 443 || group === stack.redisGroup || group === stack.balancerGroup)
          yield [address, 'leads to addresses on another port than 443, or from Redis or the load balancer'];
      } else if (
        !(values.referenced_security_group_id === stack.taskGroup && from === stack.port) &&
        !(
          values.referenced_security_group_id === stack.redisGroup &&
          group === stack.taskGroup &&
          from === 6379
        )
      )
        yield [address, 'leads to something else than the tasks and Redis'];
    }
  },

  *'no rule stands inside a security group'(stack) {
    for (const { address, values } of stack.all<{ ingress: unknown[]; egress: unknown[] }>(
      'aws_security_group',
      'aws_default_security_group',
    ))
      if (values.ingress.length + values.egress.length > 0) yield [address, 'has a rule inside'];
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
        if (statement.Effect === 'Allow' && account !== '123456789012')
          yield [address, `${statement.Sid ?? 'a statement'} admits other accounts`];
        if (statement.Effect === 'Allow' && list(statement.Action).some((action) => action.includes('*')))
          yield [address, `${statement.Sid ?? 'a statement'} allows what a wildcard matches`];
        if ('NotPrincipal' in statement || 'NotAction' in statement)
          yield [address, 'says what is not meant instead of what is'];
      }
  },

  *'a container can do no harm'(stack) {
    interface Container {
      name: string;
      image: string;
      user?: string;
      readonlyRootFilesystem?: boolean;
      linuxParameters?: Record<string, unknown>;
      environment?: { name: string; value: string }[];
      essential?: boolean;
      logConfiguration?: { logDriver: string };
    }
    interface Task {
      family: string;
      container_definitions: string;
      network_mode: string;
      pid_mode: string | null;
      ipc_mode: string | null;
      volume: unknown[];
      requires_compatibilities: string[];
      task_role_arn: string;
    }
    const name = stack.service.values.load_balancer[0]!.container_name;
    for (const { address, values } of stack.all<Task>('aws_ecs_task_definition')) {
      if (values.network_mode !== 'awsvpc' || !same(values.requires_compatibilities, ['FARGATE']))
        yield [address, 'does not run on Fargate in a network of its own'];
      if ((values.pid_mode ?? values.ipc_mode) !== null || values.volume.length > 0)
        yield [address, 'shares something with other containers'];
      for (const container of JSON.parse(values.container_definitions) as Container[]) {
        const ours = container.name === name;
        for (const key of Object.keys(container))
          if (!CONTAINER_KEYS.has(key)) yield [address, `${container.name} sets ${key}`];
        if (ours ? container.user !== '1000:1000' : /^(0|root)(:|$)/.test(container.user ?? ''))
          yield [address, `${container.name} runs as ${container.user ?? 'the user of its image'}`];
        if (container.readonlyRootFilesystem !== true && !(ours && stack.execAllowed))
          yield [address, `${container.name} may write to its root file system`];
        if (!same(Object.keys(container.linuxParameters ?? {}), ours ? ['initProcessEnabled'] : []))
          yield [address, `${container.name} has other Linux parameters than an init process`];
        if (container.logConfiguration?.logDriver !== 'awslogs')
          yield [address, `${container.name} does not log to CloudWatch`];
        for (const variable of container.environment ?? [])
          if (/SECRET|PASSWORD|TOKEN|PRIVATE_KEY/.test(variable.name))
            yield [address, `${container.name} has ${variable.name} in plain text`];
        if (!/[:@][^:@/]+$/.test(container.image) || container.image.endsWith(':latest'))
          yield [address, `${container.name} has an image without a tag of its own`];
      }
    }
  },

  *'an old revision of a task can be gone back to'(stack) {
    for (const { address, values } of stack.all<{ skip_destroy: boolean | null }>('aws_ecs_task_definition'))
      if (values.skip_destroy !== true) yield [address, 'is made inactive when the next one comes'];
  },

  *'Terraform keeps the image that the pipeline deployed'(stack) {
    interface Task {
      family: string;
      track_latest: boolean | null;
    }
    const { address, values } = stack.one<Task>(
      'aws_ecs_task_definition',
      ({ family }) => !family.endsWith('-agent'),
    );
    if (values.track_latest !== true)
      yield [address, 'is compared with the revision that Terraform made last'];
  },

  *'a deployment ends no task before its successor works'({ service: { address, values } }) {
    if (values.deployment_minimum_healthy_percent < 100)
      yield [address, 'ends tasks before new ones are there'];
    if (values.deployment_maximum_percent < 150)
      yield [address, 'has no room for new tasks beside the old ones'];
    if (
      !values.deployment_circuit_breaker[0]?.enable ||
      values.deployment_circuit_breaker[0].rollback !== true
    )
      yield [address, 'does not roll back a deployment whose tasks do not start'];
  },

  *'a deployment that alarms is rolled back'(stack) {
    const { address, values } = stack.service;
    const names = stack
      .all<{ alarm_name: string }>('aws_cloudwatch_metric_alarm')
      .map(({ values: { alarm_name } }) => alarm_name);
    const [alarms] = values.alarms;
    if (names.length > 0 && !(alarms?.enable === true && alarms.rollback && alarms.alarm_names.length >= 2))
      yield [address, 'does not roll back'];
    for (const name of alarms?.alarm_names ?? [])
      if (!names.includes(name)) yield [address, `waits for ${name}, which is not there`];
  },

  *'there are always tasks on demand'({ service: { address, values } }) {
    const strategy = values.capacity_provider_strategy;
    if (!strategy.some(({ capacity_provider: provider, base }) => provider === 'FARGATE' && base >= 1))
      yield [address, 'may run on Spot alone'];
  },

  *'the service scales before it is full, and never to one task'(stack) {
    for (const { address, values } of stack.all<{ min_capacity: number; max_capacity: number }>(
      'aws_appautoscaling_target',
    )) {
      if (values.min_capacity < 2) yield [address, 'may run a single task'];
      if (values.max_capacity <= values.min_capacity) yield [address, 'cannot add a task'];
    }
    interface Policy {
      policy_type: string;
      target_tracking_scaling_policy_configuration: {
        target_value: number;
        scale_out_cooldown: number;
        disable_scale_in: boolean | null;
        predefined_metric_specification: { predefined_metric_type: string }[];
      }[];
    }
    const metrics: string[] = [];
    for (const { address, values } of stack.all<Policy>('aws_appautoscaling_policy')) {
      const [tracking] = values.target_tracking_scaling_policy_configuration;
      const metric = tracking?.predefined_metric_specification[0]?.predefined_metric_type;
      metrics.push(metric ?? 'none');
      if (
        metric === 'ECSServiceAverageCPUUtilization' &&
        !(tracking!.target_value >= 40 && tracking!.target_value <= 70)
      )
        yield [address, `waits for ${tracking!.target_value} % of the CPU`];
      if (tracking !== undefined && tracking.scale_out_cooldown > 60) yield [address, 'adds tasks slowly'];
    }
    if (!same(sorted(metrics), ['ALBRequestCountPerTarget', 'ECSServiceAverageCPUUtilization']))
      yield [
        stack.service.address,
        `scales by ${metrics.join()} instead of the CPU and requests of each task`,
      ];
  },

  *'the load balancer asks tasks for their health, patiently'(stack) {
    interface Group {
      port: number;
      health_check: {
        enabled: boolean;
        path: string;
        matcher: string;
        interval: number;
        timeout: number;
        unhealthy_threshold: number;
      }[];
    }
    for (const { address, values } of stack.all<Group>('aws_lb_target_group')) {
      const check = values.health_check[0]!;
      if (check.matcher !== '200') yield [address, `takes ${check.matcher} for health`];
      if (check.path !== '/health/live')
        yield [address, 'asks a path that fails when Redis does, or that always answers'];
      if (check.timeout < 10 || check.interval * check.unhealthy_threshold < 60)
        yield [address, 'takes a busy task for a dead one'];
      if (check.interval * check.unhealthy_threshold > 120)
        yield [address, 'takes a dead task for a busy one'];
    }
  },

  *'the firewall blocks what its rules match'(stack) {
    type Action = Record<'allow' | 'block' | 'count' | 'captcha' | 'challenge', unknown[]>;
    interface Acl {
      default_action: Action[];
      rule: {
        name: string;
        action: Action[];
        override_action: { count: unknown[]; none: unknown[] }[];
        statement: {
          managed_rule_group_statement: {
            name: string;
            rule_action_override: { name: string; action_to_use: Action[] }[];
          }[];
          rate_based_statement: { limit: number; scope_down_statement: unknown[] }[];
        }[];
      }[];
    }
    // Players on television sets often name no user agent, and the service limits the size of a body itself.
    const COUNTED = ['NoUserAgent_HEADER', 'SizeRestrictions_BODY'];
    for (const { address, values } of stack.all<Acl>('aws_wafv2_web_acl')) {
      const names = values.rule.map(({ name }) => name);
      const managed = ['AmazonIpReputationList', 'CommonRuleSet', 'KnownBadInputsRuleSet'];
      if (
        !same(sorted(names), sorted([...managed.map((name) => `AWSManagedRules${name}`), 'rate-per-address']))
      )
        yield [address, `has the rules ${names.join()}`];
      for (const { name, action, override_action: override, statement } of values.rule) {
        const [group] = statement[0]!.managed_rule_group_statement;
        if (group !== undefined) {
          if (override[0]?.none.length !== 1) yield [address, `${name} only counts`];
          for (const { name: single } of group.rule_action_override)
            if (!COUNTED.includes(single)) yield [address, `${name} only counts ${single}`];
        } else if (action[0]?.block.length !== 1) yield [address, `${name} does not block`];
        for (const { scope_down_statement: scope } of statement[0]!.rate_based_statement)
          if (scope.length > 0) yield [address, `${name} looks at some requests only`];
      }
    }
    const associations = stack.all<{ resource_arn: string }>('aws_wafv2_web_acl_association');
    for (const { address } of stack.all('aws_wafv2_web_acl'))
      if (associations.length !== 1) yield [address, 'is not in front of the load balancer'];
  },

  *'the firewall logs no token'(stack) {
    interface Logging {
      redacted_fields: { single_header: { name: string }[] }[];
    }
    for (const { address, values } of stack.all<Logging>('aws_wafv2_web_acl_logging_configuration'))
      if (
        !values.redacted_fields.some(({ single_header: headers }) =>
          headers.some(({ name }) => name === 'authorization'),
        )
      )
        yield [address, 'logs the header Authorization'];
  },

  *'a listener forwards only what is for clients, over TLS'(stack) {
    interface Action {
      type: string;
      redirect: { protocol: string; status_code: string }[];
      fixed_response: { status_code: string }[];
    }
    interface Listener {
      id: string;
      protocol: string;
      ssl_policy: string | null;
      default_action: Action[];
    }
    interface Rule {
      action: Action[];
      condition: { path_pattern: { values: string[] }[]; host_header: { values: string[] }[] }[];
    }
    for (const { address, values } of stack.all<Listener>('aws_lb_listener')) {
      const [action] = values.default_action;
      if (values.protocol === 'HTTPS') {
        if (values.ssl_policy !== 'ELBSecurityPolicy-TLS13-1-2-2021-06')
          yield [address, `has the policy ${values.ssl_policy}`];
        if (action?.fixed_response[0]?.status_code !== '404')
          yield [address, 'answers what no rule names with more than 404'];
      } else if (action?.redirect[0]?.protocol !== 'HTTPS') yield [address, 'does not redirect to HTTPS'];
    }
    for (const { address, values } of stack.all<Rule>('aws_lb_listener_rule')) {
      if (values.action[0]?.type === 'fixed-response') continue;
      const paths = values.condition.flatMap(({ path_pattern: patterns }) =>
        patterns.flatMap((one) => one.values),
      );
      const hosts = values.condition.flatMap(({ host_header: headers }) =>
        headers.flatMap((one) => one.values),
      );
      if (!same(sorted(paths), ['/health/*', '/v1/*']) || hosts.length !== 1 || values.condition.length !== 2)
        yield [address, `forwards ${paths.join()} of ${hosts.join()}`];
    }
  },

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
      const first = [...rules].sort((a, b) => a.rulePriority - b.rulePriority)[0];
      if (!same(first?.selection.tagPrefixList, ['deployed-']))
        yield [address, 'may expire an image that runs'];
    }
  },

  *'the pipeline deploys the reviewed branch, and records what it deployed'(stack) {
    interface Pipeline {
      pipeline_type: string;
      stage: {
        name: string;
        action: {
          name: string;
          category: string;
          provider: string;
          run_order: number;
          configuration: Record<string, string>;
        }[];
      }[];
    }
    for (const { address, values } of stack.all<Pipeline>('aws_codepipeline')) {
      const actions = values.stage.flatMap(({ name, action }) =>
        action.map((one) => `${name}: ${one.category} by ${one.provider}`),
      );
      for (const { name, action } of values.stage)
        if (action.some((one, index) => index > 0 && one.run_order <= action[index - 1]!.run_order))
          yield [address, `${name} does two things at once`];
      const deploys = (stage: string) => [`${stage}: Deploy by ECS`, `${stage}: Build by CodeBuild`];
      const wanted = [
        ['Source: Source by CodeStarSourceConnection', 'Build: Build by CodeBuild'],
        values.stage.some(({ name }) => name === 'Staging') ? deploys('Staging') : [],
        values.stage.some(({ name }) => name === 'Approval') ? ['Approval: Approval by Manual'] : [],
        deploys('Deploy'),
      ].flat();
      if (!same(actions, wanted)) yield [address, `does ${actions.join(', ')}`];
      const source = values.stage[0]?.action[0]?.configuration;
      if (source?.BranchName !== 'main' || source.FullRepositoryId !== 'example/streamgate')
        yield [address, `deploys ${source?.BranchName} of ${source?.FullRepositoryId}`];
    }
  },

  *'only the build that makes the image is privileged'(stack) {
    interface Project {
      name: string;
      environment: { privileged_mode: boolean; image: string }[];
      vpc_config: unknown[];
    }
    for (const { address, values } of stack.all<Project>('aws_codebuild_project')) {
      const makes = !values.name.endsWith('-record');
      const [environment] = values.environment;
      if (environment?.privileged_mode !== makes)
        yield [address, makes ? 'cannot build an image' : 'is privileged'];
      if (environment?.image.startsWith('aws/codebuild/') !== true)
        yield [address, 'runs in an image of somebody else'];
    }
  },

  *'an alarm reaches somebody, and is one that operators know'(stack) {
    interface Alarm {
      alarm_name: string;
      alarm_actions: string[] | null;
      actions_enabled: boolean | null;
    }
    const alarms = stack.all<Alarm>('aws_cloudwatch_metric_alarm');
    for (const { address, values } of alarms)
      if (values.alarm_actions?.length !== 1 || values.actions_enabled === false)
        yield [address, 'tells nobody'];
    const wanted = [
      ...['target-5xx', 'balancer-5xx', 'latency', 'unhealthy-hosts', 'running-tasks'],
      ...['redis-memory', 'redis-cpu', 'redis-evictions'],
    ];
    if (alarms.length > 0)
      for (const name of wanted)
        if (!alarms.some(({ values }) => values.alarm_name.includes(name)))
          yield [stack.service.address, `has no alarm ${name}`];
    const events = stack.all<{ rule: string }>('aws_cloudwatch_event_target');
    for (const { address, values } of stack.all<{ name: string }>('aws_cloudwatch_event_rule'))
      if (!events.some(({ values: { rule } }) => rule === values.name)) yield [address, 'tells nobody'];
  },
};

/** Top-level blocks of Terraform's source: terraform fmt lets each end with a brace in the first column. */
function* blocks(
  sources: ReadonlyMap<string, string>,
): Generator<{ file: string; header: string; body: string }> {
  for (const [file, text] of sources)
    for (const [, header, body] of text.replaceAll(/^\s*#.*$/gm, '').matchAll(/^(\w[^\n]*?) \{\n(.*?)^\}/gms))
      yield { file, header: header!, body: body! };
}

const SOURCE_RULES: Record<string, (sources: ReadonlyMap<string, string>) => Told> = {
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
      '@level': string;
      type: string;
      test_run?: { progress: string };
      diagnostic?: { detail: string; range?: { filename: string; start: { line: number } } };
    };
    if (event.type === 'test_run' && event.test_run?.progress !== 'complete') continue;
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
export function check(folder: string, states: readonly State[]): Finding[] {
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
  const findings = check(folder!, states);
  for (const { rule, address, problem } of findings) console.log(`Broken: ${rule}\n  ${address}: ${problem}`);
  const rules = Object.keys(RULES).length + Object.keys(SOURCE_RULES).length;
  console.log(`${rules} rules over ${states.length} states: ${findings.length} broken.`);
  // Without a state nothing was looked at.
  process.exit(findings.length === 0 && states.length > 0 ? 0 : 1);
}
