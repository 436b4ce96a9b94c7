/**
 * Dangerous changes, to prove that the rules notice them. Each is one edit of one file and names the rule that must break.
 * An empty `from` appends.
 */
export interface Mutant {
  readonly name: string;
  readonly file: string;
  readonly from: string;
  readonly to: string;
  readonly rule: string;
  /** Resource or file that the rule must name, and part of what the rule must say of it: no other mutant causes both. */
  readonly address: string;
  readonly problem: string;
}

const ROLE = 'a role has only the policies that are written for it';
const GRANT = 'a role may do only what it needs';
const CONTAINER = 'a container can do no harm';
const ROUTE = 'a route leads only where its tier may go';
const OUT = 'a security group lets out only what it must';
const IN = 'a security group lets in only what it must';
const WAF = 'the firewall blocks what its rules match';
const IGNORES = 'only agreed values may be changed by others';
const DEPLOYMENT = 'a deployment ends no task before its successor works';
const SCALING = 'the service scales before it is full, and never to one task';
const IMAGES = 'an image stays as it was pushed, as long as it may run';
const TYPE = 'each type of resource has its rules';
const BUCKET = 'a bucket is private, encrypted, and reached over TLS alone';
const REDIS = 'Redis encrypts, asks for a token, and fails over';
const LISTENER = 'a listener forwards only what is for clients, over TLS';
const PIPELINE = 'the pipeline deploys the reviewed branch, and records what it deployed';
const HEALTH = 'the load balancer asks tasks for their health, patiently';

const APP = 'aws_ecs_task_definition.app';
const rule = (direction: 'ingress' | 'egress', name: string, body: string): string => `
resource "aws_vpc_security_group_${direction}_rule" "${name}" {
${body}
}
`;

export const MUTANTS: readonly Mutant[] = [
  {
    name: 'AdministratorAccess on the role of the tasks (managed_policy_arns)',
    file: 'iam.tf',
    from: '  name                 = "${local.role_prefix}-task"\n',
    to: '  name                 = "${local.role_prefix}-task"\n  managed_policy_arns  = ["arn:aws:iam::aws:policy/AdministratorAccess"]\n',
    rule: ROLE,
    address: 'aws_iam_role.task',
    problem: 'has the managed policy arn:aws:iam::aws:policy/AdministratorAccess',
  },
  {
    name: 'a privileged container',
    file: 'service.tf',
    from: '    essential    = true\n    user ',
    to: '    privileged   = true\n    essential    = true\n    user ',
    rule: CONTAINER,
    address: APP,
    problem: 'sets privileged',
  },
  {
    name: 'user 0 in the container',
    file: 'service.tf',
    from: 'user         = "1000:1000"',
    to: 'user         = "0"',
    rule: CONTAINER,
    address: APP,
    problem: 'runs as 0',
  },
  {
    name: 'a route from the private table to the internet gateway',
    file: 'network.tf',
    from: '',
    to: `
resource "aws_route" "mutant" {
  route_table_id         = aws_route_table.private[0].id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.main[0].id
}
`,
    rule: ROUTE,
    address: 'aws_route.mutant',
    problem: 'the subnets of Redis have a way out',
  },
  {
    name: 'an egress rule of all protocols',
    file: 'security_groups.tf',
    from: '',
    to: rule(
      'egress',
      'mutant_out',
      '  security_group_id = aws_security_group.ecs.id\n  cidr_ipv4         = "0.0.0.0/0"\n  ip_protocol       = "-1"',
    ),
    rule: OUT,
    address: 'aws_vpc_security_group_egress_rule.mutant_out',
    problem: 'is for more than one TCP port',
  },
  {
    name: 'override_action of WAF set to count',
    file: 'firewall.tf',
    from: '        none {}',
    to: '        count {}',
    rule: WAF,
    address: 'aws_wafv2_web_acl.main[0]',
    problem: 'AWSManagedRulesCommonRuleSet only counts (',
  },
  {
    name: 'the rate rule of WAF set to count',
    file: 'firewall.tf',
    from: '    action {\n      block {}',
    to: '    action {\n      count {}',
    rule: WAF,
    address: 'aws_wafv2_web_acl.main[0]',
    problem: 'rate-per-address does not block',
  },
  {
    name: 'redacted_fields removed',
    file: 'firewall.tf',
    from: '  redacted_fields {\n    single_header {\n      name = "authorization"\n    }\n  }\n',
    to: '',
    rule: 'the firewall logs no token',
    address: 'aws_wafv2_web_acl_logging_configuration.main[0]',
    problem: 'logs the header Authorization',
  },
  {
    name: 'the state is not encrypted',
    file: 'environments/prod/main.tf',
    from: '    encrypt      = true\n',
    to: '',
    rule: 'the state is encrypted and locked',
    address: 'environments/prod/main.tf',
    problem: 'does not encrypt the state',
  },
  {
    name: 'ignore_changes removed from the image tag',
    file: 'registry.tf',
    from: '    ignore_changes = [insecure_value]\n',
    to: '',
    rule: IGNORES,
    address: 'aws_ssm_parameter.image_tag',
    problem: 'does not ignore changes',
  },
  {
    name: 'ignore_changes removed from the secret versions',
    file: 'secrets.tf',
    from: '    ignore_changes = [secret_string, version_stages]\n',
    to: '',
    rule: IGNORES,
    address: 'aws_secretsmanager_secret_version.app',
    problem: 'does not ignore changes',
  },
  {
    name: 'ignore_changes removed from the desired count',
    file: 'service.tf',
    from: '    ignore_changes = [desired_count] # Auto scaling sets it.\n',
    to: '',
    rule: IGNORES,
    address: 'aws_ecs_service.app',
    problem: 'does not ignore changes',
  },
  {
    name: 'skip_destroy = false',
    file: 'service.tf',
    from: '  skip_destroy = true\n',
    to: '  skip_destroy = false\n',
    rule: 'an old revision of a task can be gone back to',
    address: APP,
    problem: 'is made inactive',
  },
  {
    name: 'maximum 100 per cent with minimum 100',
    file: 'service.tf',
    from: 'deployment_maximum_percent         = 200',
    to: 'deployment_maximum_percent         = 100',
    rule: DEPLOYMENT,
    address: 'aws_ecs_service.app',
    problem: 'has no room for new tasks',
  },
  {
    name: 'matcher 200-499',
    file: 'balancer.tf',
    from: 'matcher             = "200"',
    to: 'matcher             = "200-499"',
    rule: HEALTH,
    address: 'aws_lb_target_group.app',
    problem: 'takes 200-499 for health',
  },
  {
    name: 'CPU target of 98 %',
    file: 'scaling.tf',
    from: 'target_value       = 60',
    to: 'target_value       = 98',
    rule: SCALING,
    address: 'aws_appautoscaling_policy.cpu',
    problem: 'waits for 98 % of the CPU',
  },
  {
    name: 'one task at least',
    file: 'scaling.tf',
    from: '  min_capacity       = var.min_tasks',
    to: '  min_capacity       = 1',
    rule: SCALING,
    address: 'aws_appautoscaling_target.app',
    problem: 'may run a single task',
  },
  {
    name: 'another branch is deployed',
    file: 'pipeline.tf',
    from: '        BranchName       = var.source_branch',
    to: '        BranchName       = "anybodys"',
    rule: PIPELINE,
    address: 'aws_codepipeline.app[0]',
    problem: 'deploys anybodys',
  },
  {
    name: 'CodeBuild is not privileged',
    file: 'pipeline.tf',
    from: '    privileged_mode = true # For docker build.',
    to: '    privileged_mode = false',
    rule: 'only the build that makes the image is privileged',
    address: 'aws_codebuild_project.app[0]',
    problem: 'cannot build an image',
  },
  {
    name: 'one image is kept',
    file: 'registry.tf',
    from: 'tagPrefixList = ["deployed-"], countType = "imageCountMoreThan", countNumber = 20',
    to: 'tagPrefixList = ["deployed-"], countType = "imageCountMoreThan", countNumber = 1',
    rule: IMAGES,
    address: 'aws_ecr_lifecycle_policy.app[0]',
    problem: 'leaves fewer than ten ways back',
  },
  // The same kinds in other places.
  {
    name: 'a policy inside a role',
    file: 'iam.tf',
    from: '  name                 = "${local.role_prefix}-execution"\n',
    to: '  name                 = "${local.role_prefix}-execution"\n  inline_policy {\n    name   = "mutant"\n    policy = jsonencode({ Version = "2012-10-17", Statement = [] })\n  }\n',
    rule: ROLE,
    address: 'aws_iam_role.execution',
    problem: 'has a policy inside',
  },
  {
    name: 'a policy attached to a role',
    file: 'iam.tf',
    from: '',
    to: `
resource "aws_iam_role_policy_attachment" "mutant" {
  role       = aws_iam_role.task.name
  policy_arn = "arn:aws:iam::aws:policy/AdministratorAccess"
}
`,
    rule: TYPE,
    address: 'aws_iam_role_policy_attachment.mutant',
    problem: 'is a type that no rule looks at',
  },
  {
    name: 'a second policy of the role of the tasks',
    file: 'iam.tf',
    from: '',
    to: `
resource "aws_iam_role_policy" "mutant" {
  role   = aws_iam_role.task.id
  policy = jsonencode({ Version = "2012-10-17", Statement = [{ Effect = "Allow", Action = "s3:*", Resource = "*" }] })
}
`,
    rule: GRANT,
    address: 'aws_iam_role_policy.mutant',
    problem: 'lets aws_iam_role.task do s3:* to *',
  },
  {
    name: 'a role that another account can take',
    file: 'iam.tf',
    from: '',
    to: `
resource "aws_iam_role" "mutant" {
  name               = "mutant-us-east-1"
  assume_role_policy = jsonencode({ Version = "2012-10-17", Statement = [{ Effect = "Allow", Action = "sts:AssumeRole", Principal = { AWS = "*" } }] })
}
`,
    rule: ROLE,
    address: 'aws_iam_role.mutant',
    problem: 'is a role that no rule looks at',
  },
  {
    name: 'every secret of the account for the tasks',
    file: 'iam.tf',
    from: 'Resource = [for secret in aws_secretsmanager_secret.app : secret.arn]',
    to: 'Resource = "*"',
    rule: GRANT,
    address: 'aws_iam_role_policy.execution',
    problem: 'do secretsmanager:GetSecretValue to *',
  },
  {
    name: 'roles passed to any service',
    file: 'iam.tf',
    from: '        Condition = { StringEquals = { "iam:PassedToService" = "ecs-tasks.amazonaws.com" } }\n',
    to: '',
    rule: GRANT,
    address: 'aws_iam_role_policy.pipeline[0]',
    problem: 'passes roles to something else than ECS tasks',
  },
  {
    name: 'an ingress rule of Redis for the internet',
    file: 'security_groups.tf',
    from: '',
    to: rule(
      'ingress',
      'mutant_in',
      '  security_group_id = aws_security_group.redis.id\n  cidr_ipv4         = "0.0.0.0/0"\n  ip_protocol       = "tcp"\n  from_port         = 6379\n  to_port           = 6379',
    ),
    rule: IN,
    address: 'aws_vpc_security_group_ingress_rule.mutant_in',
    problem: 'lets in addresses instead of a security group',
  },
  {
    name: 'the load balancer opens port 22',
    file: 'security_groups.tf',
    from: '  for_each = { http = 80, https = 443 }',
    to: '  for_each = { http = 80, https = 443, ssh = 22 }',
    rule: IN,
    address: 'aws_vpc_security_group_ingress_rule.alb_from_internet["ssh"]',
    problem: 'opens another port than 80 and 443',
  },
  {
    name: 'a rule inside a security group',
    file: 'security_groups.tf',
    from: '  description = "Redis: from the tasks alone"\n',
    to: '  description = "Redis: from the tasks alone"\n  ingress {\n    protocol    = "-1"\n    from_port   = 0\n    to_port     = 0\n    cidr_blocks = ["0.0.0.0/0"]\n  }\n',
    rule: 'no rule stands inside a security group',
    address: 'aws_security_group.redis',
    problem: 'has a rule inside',
  },
  {
    name: 'a rule of the old type',
    file: 'security_groups.tf',
    from: '',
    to: `
resource "aws_security_group_rule" "mutant" {
  type              = "ingress"
  security_group_id = aws_security_group.ecs.id
  protocol          = "-1"
  from_port         = 0
  to_port           = 0
  cidr_blocks       = ["0.0.0.0/0"]
}
`,
    rule: TYPE,
    address: 'aws_security_group_rule.mutant',
    problem: 'is a type that no rule looks at',
  },
  {
    name: 'a capability added to the container',
    file: 'service.tf',
    from: '    linuxParameters        = { initProcessEnabled = true }',
    to: '    linuxParameters        = { initProcessEnabled = true, capabilities = { add = ["SYS_PTRACE"] } }',
    rule: CONTAINER,
    address: APP,
    problem: 'has other Linux parameters',
  },
  {
    name: 'a health check in the container',
    file: 'service.tf',
    from: '    stopTimeout = 30\n',
    to: '    stopTimeout = 30\n    healthCheck = { command = ["CMD", "node", "-e", "0"] }\n',
    rule: CONTAINER,
    address: APP,
    problem: 'sets healthCheck',
  },
  {
    name: 'a root file system that can be written to',
    file: 'service.tf',
    from: 'readonlyRootFilesystem = !var.execute_command_enabled',
    to: 'readonlyRootFilesystem = false',
    rule: CONTAINER,
    address: APP,
    problem: 'may write to its root file system',
  },
  {
    name: 'one managed rule of WAF that only counts',
    file: 'firewall.tf',
    from: '"SizeRestrictions_BODY"]',
    to: '"SizeRestrictions_BODY", "CrossSiteScripting_BODY"]',
    rule: WAF,
    address: 'aws_wafv2_web_acl.main[0]',
    problem: 'only counts CrossSiteScripting_BODY',
  },
  {
    name: 'no firewall before the load balancer',
    file: 'firewall.tf',
    from: 'resource "aws_wafv2_web_acl_association" "main" {\n  count = var.firewall_enabled ? 1 : 0',
    to: 'resource "aws_wafv2_web_acl_association" "main" {\n  count = 0',
    rule: WAF,
    address: 'aws_wafv2_web_acl.main[0]',
    problem: 'is not in front of the load balancer',
  },
  {
    name: 'the state is not locked',
    file: 'environments/dev/main.tf',
    from: '    use_lockfile = true\n',
    to: '',
    rule: 'the state is encrypted and locked',
    address: 'environments/dev/main.tf',
    problem: 'does not lock the state',
  },
  {
    name: 'changes of the balancer ignored',
    file: 'balancer.tf',
    from: '  lifecycle {\n    create_before_destroy = true\n',
    to: '  lifecycle {\n    create_before_destroy = true\n    ignore_changes        = all\n',
    rule: IGNORES,
    address: 'aws_lb_target_group.app',
    problem: 'ignores changes of all',
  },
  {
    name: 'something runs on the machine that applies',
    file: 'dns.tf',
    from: '',
    to: '\nresource "terraform_data" "mutant" {\n  provisioner "local-exec" {\n    command = "true"\n  }\n}\n',
    rule: 'the module runs nothing on the machine that applies it, and configures no provider',
    address: 'dns.tf',
    problem: 'runs something in',
  },
  {
    name: 'Terraform undoes deployments',
    file: 'service.tf',
    from: '  track_latest = true\n',
    to: '  track_latest = false\n',
    rule: 'Terraform keeps the image that the pipeline deployed',
    address: APP,
    problem: 'is compared with the revision that Terraform made last',
  },
  {
    name: 'no rollback',
    file: 'service.tf',
    from: '    enable   = true\n    rollback = true',
    to: '    enable   = true\n    rollback = false',
    rule: DEPLOYMENT,
    address: 'aws_ecs_service.app',
    problem: 'does not roll back a deployment',
  },
  {
    name: 'no rollback by alarms',
    file: 'service.tf',
    from: '      rollback    = true',
    to: '      rollback    = false',
    rule: 'a deployment that alarms is rolled back',
    address: 'aws_ecs_service.app',
    problem: 'does not roll back',
  },
  {
    name: 'Spot alone',
    file: 'service.tf',
    from: 'base              = capacity_provider_strategy.key == "FARGATE" ? 1 : null',
    to: 'base              = null',
    rule: 'there are always tasks on demand',
    address: 'aws_ecs_service.app',
    problem: 'may run on Spot alone',
  },
  {
    name: 'an impatient health check',
    file: 'balancer.tf',
    from: 'timeout             = 10',
    to: 'timeout             = 2',
    rule: HEALTH,
    address: 'aws_lb_target_group.app',
    problem: 'takes a busy task for a dead one',
  },
  {
    name: 'health that is asked at the port of clients',
    file: 'balancer.tf',
    from: 'port                = var.operator_port',
    to: 'port                = var.app_port',
    rule: HEALTH,
    address: 'aws_lb_target_group.app',
    problem: 'asks where clients wait',
  },
  {
    name: 'health that is asked at a port where nothing listens',
    file: 'balancer.tf',
    from: 'port                = var.operator_port',
    to: 'port                = 9999',
    rule: HEALTH,
    address: 'aws_lb_target_group.app',
    problem: 'asks at a port where the service does not listen',
  },
  {
    name: 'tags that change their image',
    file: 'registry.tf',
    from: 'image_tag_mutability = "IMMUTABLE"',
    to: 'image_tag_mutability = "MUTABLE"',
    rule: IMAGES,
    address: 'aws_ecr_repository.app[0]',
    problem: 'lets a tag come to mean another image',
  },
  {
    name: 'the tag is written before the deployment',
    file: 'pipeline.tf',
    from: '          run_order       = 2',
    to: '          run_order       = 0 + 1',
    rule: PIPELINE,
    address: 'aws_codepipeline.app[0]',
    problem: 'Deploy does two things at once',
  },
  {
    name: 'the load balancer forwards everything',
    file: 'balancer.tf',
    from: '      values = ["/v1/*", "/health/*"]',
    to: '      values = ["/*"]',
    rule: LISTENER,
    address: 'aws_lb_listener_rule.app',
    problem: 'forwards /*',
  },
  {
    name: 'Redis talks without TLS',
    file: 'redis.tf',
    from: '  transit_encryption_enabled = true',
    to: '  transit_encryption_enabled = false',
    rule: REDIS,
    address: 'aws_elasticache_replication_group.main',
    problem: 'does not encrypt',
  },
  {
    name: 'Redis evicts sessions',
    file: 'redis.tf',
    from: 'value = "noeviction"',
    to: 'value = "allkeys-lru"',
    rule: REDIS,
    address: 'aws_elasticache_parameter_group.main',
    problem: 'sets maxmemory-policy to allkeys-lru',
  },
  {
    name: 'a bucket without any guard',
    file: 'logs.tf',
    from: '',
    to: '\nresource "aws_s3_bucket" "mutant" {\n  bucket_prefix = "mutant-"\n}\n',
    rule: BUCKET,
    address: 'aws_s3_bucket.mutant',
    problem: 'can be made public',
  },
  {
    name: 'a log for ever',
    file: 'logs.tf',
    from: '',
    to: '\nresource "aws_cloudwatch_log_group" "mutant" {\n  name = "mutant"\n}\n',
    rule: 'a log is deleted in time',
    address: 'aws_cloudwatch_log_group.mutant',
    problem: 'keeps its events for ever',
  },
  {
    name: 'a topic for everybody',
    file: 'alarms.tf',
    from: '        Condition = { StringEquals = { "AWS:SourceOwner" = local.account_id } }\n',
    to: '',
    rule: 'a policy of a resource admits only this account’s services',
    address: 'aws_sns_topic_policy.alarms[0]',
    problem: 'admits other accounts',
  },
  {
    name: 'alarms that tell nobody',
    file: 'alarms.tf',
    from: '  alarm_actions                         = [aws_sns_topic.alarms[0].arn]\n',
    to: '',
    rule: 'an alarm reaches somebody, and is one that operators know',
    address: 'aws_cloudwatch_metric_alarm.main["latency"]',
    problem: 'tells nobody',
  },
];
