# The whole stack, applied to a mocked AWS: how the parts are wired, and what no part may allow.

mock_provider "aws" {
  source = "./tests/mocks"
}

# By default all of a type have one ARN. These must be told apart.
override_resource {
  target = aws_iam_role.execution
  values = { arn = "arn:aws:iam::123456789012:role/execution" }
}
override_resource {
  target = aws_iam_role.task
  values = { arn = "arn:aws:iam::123456789012:role/task" }
}
override_resource {
  target = aws_iam_role.build
  values = { arn = "arn:aws:iam::123456789012:role/build" }
}
override_resource {
  target = aws_iam_role.pipeline
  values = { arn = "arn:aws:iam::123456789012:role/pipeline" }
}

run "stack" {
  # Network

  assert {
    condition     = aws_route.internet.route_table_id == aws_route_table.public.id && aws_route.internet.gateway_id == aws_internet_gateway.main.id
    error_message = "The public tier has no way out, or the private one has."
  }
  assert {
    condition = alltrue([for zone, association in aws_route_table_association.private :
      association.route_table_id == aws_route_table.private.id && association.subnet_id == aws_subnet.private[zone].id
    ])
    error_message = "A private subnet has another route table than the private one."
  }
  assert {
    condition = (
      length(toset([for subnet in aws_subnet.public : subnet.availability_zone])) >= 2
      && length(toset([for subnet in aws_subnet.private : subnet.availability_zone])) >= 2
    )
    error_message = "A tier lies in fewer than two zones."
  }
  assert {
    condition     = length(toset([for subnet in concat(values(aws_subnet.public), values(aws_subnet.private)) : subnet.cidr_block])) == 4
    error_message = "Two subnets have the same addresses."
  }
  assert {
    condition     = aws_default_security_group.closed.vpc_id == aws_vpc.main.id
    error_message = "The default security group is as AWS makes it: open to itself and to the world."
  }

  # Who may talk to whom

  assert {
    condition = (
      aws_vpc_security_group_ingress_rule.redis_from_ecs.security_group_id == aws_security_group.redis.id
      && aws_vpc_security_group_ingress_rule.redis_from_ecs.referenced_security_group_id == aws_security_group.ecs.id
      && aws_vpc_security_group_ingress_rule.redis_from_ecs.cidr_ipv4 == null
      && aws_vpc_security_group_ingress_rule.redis_from_ecs.from_port == 6379
      && aws_vpc_security_group_ingress_rule.redis_from_ecs.to_port == 6379
    )
    error_message = "Redis lets in somebody else than the tasks, or on another port."
  }
  assert {
    condition = (
      aws_vpc_security_group_ingress_rule.ecs_from_alb.security_group_id == aws_security_group.ecs.id
      && aws_vpc_security_group_ingress_rule.ecs_from_alb.referenced_security_group_id == aws_security_group.alb.id
      && aws_vpc_security_group_ingress_rule.ecs_from_ecs.security_group_id == aws_security_group.ecs.id
      && aws_vpc_security_group_ingress_rule.ecs_from_ecs.referenced_security_group_id == aws_security_group.ecs.id
      && alltrue([for rule in [aws_vpc_security_group_ingress_rule.ecs_from_alb, aws_vpc_security_group_ingress_rule.ecs_from_ecs] :
        rule.cidr_ipv4 == null && rule.from_port == 8080 && rule.to_port == 8080
      ])
    )
    error_message = "Tasks let in somebody else than the load balancer and one another, or on another port."
  }
  assert {
    condition     = toset([for rule in aws_vpc_security_group_ingress_rule.alb_from_internet : rule.from_port]) == toset([80, 443])
    error_message = "The load balancer is open on other ports than 80 and 443."
  }
  assert {
    condition = (
      aws_vpc_security_group_egress_rule.ecs_to_redis.referenced_security_group_id == aws_security_group.redis.id
      && aws_vpc_security_group_egress_rule.ecs_to_https.from_port == 443
      && aws_vpc_security_group_egress_rule.ecs_to_https.to_port == 443
    )
    error_message = "Tasks reach more than Redis and port 443, or less."
  }
  # Whoever adds a rule, or a policy below, adds an assertion and its name here.
  assert {
    condition = toset(flatten([for file in fileset(path.root, "*.tf") :
      regexall("(?m)^resource \"(aws_vpc_security_group_ingress_rule\" \"\\w+|aws_security_group_rule)\"", file("${path.root}/${file}"))
      ])) == toset([
      "aws_vpc_security_group_ingress_rule\" \"alb_from_internet", "aws_vpc_security_group_ingress_rule\" \"ecs_from_alb",
      "aws_vpc_security_group_ingress_rule\" \"ecs_from_ecs", "aws_vpc_security_group_ingress_rule\" \"redis_from_ecs",
    ])
    error_message = "There is an ingress rule that no assertion looks at."
  }
  assert {
    condition = length(flatten([for file in fileset(path.root, "*.tf") :
      regexall("(?m)^\\s+(?:ingress|egress|route)\\s*(?:\\{|=)|^\\s+dynamic \"(?:ingress|egress|route)\"", file("${path.root}/${file}"))
    ])) == 0
    error_message = "A rule or route stands inside a security group or route table, where no assertion looks."
  }

  # Redis

  assert {
    condition     = toset(aws_elasticache_subnet_group.main.subnet_ids) == toset([for subnet in aws_subnet.private : subnet.id])
    error_message = "Redis is not in the private tier, or not in all of it."
  }
  assert {
    condition     = aws_elasticache_replication_group.main.security_group_ids == toset([aws_security_group.redis.id])
    error_message = "Redis is in another security group than its own."
  }
  assert {
    condition     = aws_elasticache_replication_group.main.transit_encryption_enabled && aws_elasticache_replication_group.main.at_rest_encryption_enabled
    error_message = "Redis does not encrypt what it sends, or what it keeps."
  }
  assert {
    condition = (
      try(length(aws_elasticache_replication_group.main.auth_token) >= 32, false)
      && aws_elasticache_replication_group.main.auth_token == aws_secretsmanager_secret_version.app["REDIS_PASSWORD"].secret_string
    )
    error_message = "Redis asks for no token, or for another than tasks are given."
  }
  assert {
    condition = (
      aws_elasticache_replication_group.main.num_cache_clusters == 2
      && aws_elasticache_replication_group.main.automatic_failover_enabled
      && aws_elasticache_replication_group.main.multi_az_enabled
    )
    error_message = "Redis does not fail over to another zone."
  }
  assert {
    condition     = { for parameter in aws_elasticache_parameter_group.main.parameter : parameter.name => parameter.value } == { maxmemory-policy = "noeviction" }
    error_message = "Redis may evict sessions, or runs in cluster mode that nobody asked for."
  }
  assert {
    condition     = aws_elasticache_replication_group.main.parameter_group_name == aws_elasticache_parameter_group.main.name
    error_message = "Redis has another parameter group than ours."
  }

  # The load balancer

  assert {
    condition     = aws_lb.main.xff_header_processing_mode == "append"
    error_message = "The address of a client is not what the load balancer appends to X-Forwarded-For."
  }

  # The task: image, environment, secrets

  assert {
    condition     = jsondecode(aws_ecs_task_definition.app.container_definitions)[0].image == "${aws_ecr_repository.app.repository_url}:none-yet"
    error_message = "The image is not of our repository, or not the one that the parameter names."
  }
  assert {
    condition = (
      { for one in jsondecode(aws_ecs_task_definition.app.container_definitions)[0].environment : one.name => one.value }
      == { for name, value in jsondecode(file("./tests/environment.json")).minimal.environment : name => value }
    )
    error_message = "The environment is not that of tests/environment.json, which src/config.ts is held against as well."
  }
  assert {
    condition = (
      { for name, version in aws_secretsmanager_secret_version.app : name => version.secret_string }
      == { for name, value in jsondecode(file("./tests/environment.json")).minimal.secrets : name => value }
    )
    error_message = "The secrets are not those of tests/environment.json, which src/config.ts is held against as well."
  }
  assert {
    condition = (
      { for one in jsondecode(aws_ecs_task_definition.app.container_definitions)[0].secrets : one.name => one.valueFrom }
      == { for name, secret in aws_secretsmanager_secret.app : name => secret.arn }
    )
    error_message = "A secret is not given, or another one in its place."
  }
  assert {
    condition     = alltrue([for name, version in aws_secretsmanager_secret_version.app : version.secret_id == aws_secretsmanager_secret.app[name].id])
    error_message = "A secret has the value of another."
  }
  assert {
    condition     = alltrue([for version in aws_secretsmanager_secret_version.app : length(setsubtract(version.version_stages, ["AWSCURRENT", "AWSPREVIOUS"])) == 1])
    error_message = "AWS deletes the version that Terraform knows when the secret is put by hand twice, and the next apply draws another."
  }
  assert {
    condition = length([for one in jsondecode(aws_ecs_task_definition.app.container_definitions)[0].environment : one.name
      if can(regex("SECRET|PASSWORD|TOKEN|PRIVATE_KEY", one.name)) || strcontains(one.value, "abcdefgh")
    ]) == 0
    error_message = "A secret stands in the task definition in plain."
  }
  assert {
    condition     = jsondecode(aws_ecs_task_definition.app.container_definitions)[0].readonlyRootFilesystem && length(aws_iam_role_policy.task) == 0
    error_message = "The task may write to its root file system or ask something of AWS, without ECS Exec."
  }
  assert {
    condition = (
      jsondecode(aws_ecs_task_definition.app.container_definitions)[0].portMappings[0].containerPort == 8080
      && strcontains(jsondecode(aws_ecs_task_definition.app.container_definitions)[0].healthCheck.command[3], "http://127.0.0.1:8080/health/live")
    )
    error_message = "The container's port or its health check is not what the service listens on."
  }
  assert {
    condition = (
      jsondecode(aws_ecs_task_definition.app.container_definitions)[0].linuxParameters.initProcessEnabled
      && jsondecode(aws_ecs_task_definition.app.container_definitions)[0].stopTimeout == jsondecode(file("./tests/timeouts.json")).stop
    )
    error_message = "The container has no init, or another time to end than tests/timeouts.json says, which the service is held against."
  }
  assert {
    condition     = aws_ecs_task_definition.app.execution_role_arn == aws_iam_role.execution.arn && aws_ecs_task_definition.app.task_role_arn == aws_iam_role.task.arn
    error_message = "The task runs with another role than its own."
  }
  assert {
    condition     = aws_ecs_task_definition.app.track_latest
    error_message = "A change by Terraform would undo a deployment by the pipeline."
  }

  # The service

  assert {
    condition = (
      aws_ecs_service.app.network_configuration[0].subnets == toset([for subnet in aws_subnet.public : subnet.id])
      && aws_ecs_service.app.network_configuration[0].assign_public_ip
      && aws_ecs_service.app.network_configuration[0].security_groups == toset([aws_security_group.ecs.id])
    )
    error_message = "Tasks are not in the public tier with an address, behind their own security group: they reach no registry."
  }
  assert {
    condition     = try(aws_ecs_service.app.deployment_circuit_breaker[0].enable && aws_ecs_service.app.deployment_circuit_breaker[0].rollback, false)
    error_message = "A deployment that does not start is not rolled back."
  }
  assert {
    condition     = aws_ecs_service.app.deployment_minimum_healthy_percent == 100
    error_message = "A deployment ends tasks before the new ones are there."
  }
  assert {
    condition = (
      one(aws_ecs_service.app.load_balancer).target_group_arn == aws_lb_target_group.app.arn
      && one(aws_ecs_service.app.load_balancer).container_name == jsondecode(aws_ecs_task_definition.app.container_definitions)[0].name
      && one(aws_ecs_service.app.load_balancer).container_port == 8080
    )
    error_message = "The load balancer does not reach the container."
  }
  assert {
    condition     = aws_ecs_service.app.service_registries[0].registry_arn == aws_service_discovery_service.app.arn
    error_message = "The service is not to be discovered."
  }
  assert {
    condition     = output.discovery_name == "app.streamgate.internal:8080"
    error_message = "The discovery name is another than documented."
  }

  # The load balancer

  assert {
    condition = (
      !aws_lb.main.internal
      && aws_lb.main.subnets == toset([for subnet in aws_subnet.public : subnet.id])
      && aws_lb.main.security_groups == toset([aws_security_group.alb.id])
      && aws_lb.main.drop_invalid_header_fields
    )
    error_message = "The load balancer is not in the public tier behind its own security group, or passes malformed headers."
  }
  assert {
    condition = (
      aws_lb.main.idle_timeout == jsondecode(file("./tests/timeouts.json")).idle
      && tonumber(aws_lb_target_group.app.deregistration_delay) == jsondecode(file("./tests/timeouts.json")).drain
    )
    error_message = "The load balancer waits for another time than tests/timeouts.json says, which the service is held against."
  }
  assert {
    condition = (
      aws_lb_listener.http.port == 80
      && aws_lb_listener.http.default_action[0].type == "redirect"
      && try(aws_lb_listener.http.default_action[0].redirect[0].protocol == "HTTPS", false)
      && try(aws_lb_listener.http.default_action[0].redirect[0].status_code == "HTTP_301", false)
    )
    error_message = "HTTP does something else than redirect to HTTPS."
  }
  assert {
    condition     = aws_lb_listener_rule.app.listener_arn == aws_lb_listener.https.arn && aws_lb_listener.https.protocol == "HTTPS" && aws_lb_listener.https.ssl_policy == "ELBSecurityPolicy-TLS13-1-2-2021-06"
    error_message = "What forwards is not HTTPS of TLS 1.2 or 1.3."
  }
  assert {
    condition     = aws_lb_listener.https.default_action[0].type == "fixed-response" && aws_lb_listener.https.default_action[0].fixed_response[0].status_code == "404"
    error_message = "HTTPS forwards what no rule names."
  }
  assert {
    condition = (
      aws_lb_listener_rule.not_for_clients.action[0].type == "fixed-response"
      && aws_lb_listener_rule.not_for_clients.action[0].fixed_response[0].status_code == "403"
      && length(aws_lb_listener_rule.not_for_clients.condition) == 1
      && one(aws_lb_listener_rule.not_for_clients.condition).path_pattern[0].values == toset(jsondecode(file("./tests/paths.json")).forbidden)
      && aws_lb_listener_rule.not_for_clients.listener_arn == aws_lb_listener.https.arn
      && aws_lb_listener_rule.not_for_clients.priority < aws_lb_listener_rule.app.priority
    )
    error_message = "/internal, /metrics or /docs is not answered 403, whatever other rules say."
  }
  assert {
    condition = (
      toset(flatten([for condition in aws_lb_listener_rule.app.condition : [for pattern in condition.path_pattern : pattern.values]])) == toset(jsondecode(file("./tests/paths.json")).forwarded)
      && toset(flatten([for condition in aws_lb_listener_rule.app.condition : [for header in condition.host_header : header.values]])) == toset(["gate.example.com"])
    )
    error_message = "The load balancer forwards other paths than those for clients, or for other hosts: /%69nternal would pass a rule that names only what may not."
  }
  assert {
    condition = toset(flatten([for file in fileset(path.root, "*.tf") :
      regexall("(?m)^resource \"(?:aws_lb_listener|aws_lb_listener_rule)\" \"(\\w+)\"", file("${path.root}/${file}"))
    ])) == toset(["http", "https", "not_for_clients", "app"])
    error_message = "There is a listener or rule that no assertion looks at."
  }
  assert {
    condition     = aws_lb_target_group.app.port == 8080 && aws_lb_target_group.app.target_type == "ip" && aws_lb_target_group.app.health_check[0].path == "/health/live"
    error_message = "The target group is not for the service's port, or its health check asks Redis."
  }
  assert {
    condition     = aws_route53_record.app.type == "A" && aws_route53_record.app.alias[0].name == aws_lb.main.dns_name && aws_route53_record.app.name == "gate.example.com"
    error_message = "The A record does not lead to the load balancer."
  }

  # Firewall and logs

  assert {
    condition     = aws_wafv2_web_acl_association.main[0].resource_arn == aws_lb.main.arn
    error_message = "The firewall does not stand before the load balancer."
  }
  assert {
    condition = toset([for rule in aws_wafv2_web_acl.main[0].rule : rule.name]) == toset([
      "AWSManagedRulesAmazonIpReputationList", "AWSManagedRulesCommonRuleSet", "AWSManagedRulesKnownBadInputsRuleSet", "rate-per-address",
    ])
    error_message = "The firewall lacks a rule."
  }
  assert {
    condition     = startswith(aws_cloudwatch_log_group.main["firewall"].name, "aws-waf-logs-")
    error_message = "WAF writes to groups alone whose names begin with aws-waf-logs-."
  }
  assert {
    condition = (
      aws_wafv2_web_acl_logging_configuration.main[0].logging_filter[0].default_behavior == "DROP"
      && [for filter in aws_wafv2_web_acl_logging_configuration.main[0].logging_filter[0].filter :
        [filter.behavior, [for condition in filter.condition : condition.action_condition[0].action]]
      ] == [["KEEP", ["BLOCK"]]]
    )
    error_message = "The firewall writes a line for requests that it lets through: for every one, or for what it counts."
  }
  assert {
    condition     = alltrue([for group in aws_cloudwatch_log_group.main : group.retention_in_days == 30])
    error_message = "A log group keeps its events for ever."
  }
  assert {
    condition = (
      jsondecode(aws_ecs_task_definition.app.container_definitions)[0].logConfiguration.options["awslogs-group"] == "/ecs/streamgate"
      && one(one(aws_codebuild_project.app.logs_config).cloudwatch_logs).group_name == "/aws/codebuild/streamgate"
      && toset([for log in aws_elasticache_replication_group.main.log_delivery_configuration : log.destination]) == toset(["/aws/elasticache/streamgate"])
    )
    error_message = "Something logs to another group than the one that is made for it."
  }

  # Policies

  assert {
    condition = alltrue(flatten([for policy in [aws_iam_role_policy.execution, aws_iam_role_policy.build, aws_iam_role_policy.pipeline] :
      [for statement in jsondecode(policy.policy).Statement : [for action in flatten([statement.Action]) : !strcontains(action, "*")]]
    ]))
    error_message = "A role may do whatever a wildcard matches."
  }
  assert {
    condition = length(setsubtract(
      flatten([for policy in [aws_iam_role_policy.execution, aws_iam_role_policy.build, aws_iam_role_policy.pipeline] :
        [for statement in jsondecode(policy.policy).Statement : statement.Action if contains(flatten([statement.Resource]), "*")]
      ]),
      ["ecr:GetAuthorizationToken", "ecs:DescribeTaskDefinition", "ecs:RegisterTaskDefinition"]
    )) == 0
    error_message = "A role may do something to all resources that could be narrowed."
  }
  assert {
    condition = [for statement in jsondecode(aws_iam_role_policy.pipeline.policy).Statement : [toset(flatten([statement.Resource])), try(statement.Condition, null)] if contains(statement.Action, "iam:PassRole")] == [[
      toset([aws_iam_role.execution.arn, aws_iam_role.task.arn]),
      { StringEquals = { "iam:PassedToService" = "ecs-tasks.amazonaws.com" } },
    ]]
    error_message = "The pipeline may pass other roles than the task's two, or to something else than ECS."
  }
  assert {
    condition     = !strcontains("${aws_iam_role_policy.execution.policy}${aws_iam_role_policy.build.policy}", "iam:")
    error_message = "Only the pipeline may pass a role."
  }
  assert {
    condition = [for statement in jsondecode(aws_iam_role_policy.execution.policy).Statement : toset(statement.Resource) if contains(statement.Action, "secretsmanager:GetSecretValue")] == [
      toset([for secret in aws_secretsmanager_secret.app : secret.arn])
    ]
    error_message = "Tasks are started with other secrets than their own."
  }
  assert {
    condition = alltrue(flatten([for policy in [aws_iam_role_policy.execution, aws_iam_role_policy.build] :
      [for statement in jsondecode(policy.policy).Statement : [for action in statement.Action :
        !startswith(action, "ecr:") || action == "ecr:GetAuthorizationToken" || statement.Resource == aws_ecr_repository.app.arn
      ]]
    ]))
    error_message = "A role reaches other image repositories than ours."
  }
  assert {
    condition = alltrue([for role, service in {
      execution = "ecs-tasks", task = "ecs-tasks", build = "codebuild", pipeline = "codepipeline"
      } : jsondecode(
      { execution = aws_iam_role.execution, task = aws_iam_role.task, build = aws_iam_role.build, pipeline = aws_iam_role.pipeline }[role].assume_role_policy
      ).Statement == [{
        Action    = "sts:AssumeRole"
        Condition = { StringEquals = { "aws:SourceAccount" = "123456789012" } }
        Effect    = "Allow"
        Principal = { Service = "${service}.amazonaws.com" }
    }]])
    error_message = "A role can be taken by another than its service, or from another account."
  }
  assert {
    condition = toset(flatten([for file in fileset(path.root, "*.tf") :
      regexall("(?m)^resource \"(aws_iam_[a-z_]+\" \"\\w+)\"", file("${path.root}/${file}"))
      ])) == toset([
      "aws_iam_role\" \"execution", "aws_iam_role\" \"task", "aws_iam_role\" \"build", "aws_iam_role\" \"pipeline",
      "aws_iam_role_policy\" \"execution", "aws_iam_role_policy\" \"task", "aws_iam_role_policy\" \"build", "aws_iam_role_policy\" \"pipeline",
    ])
    error_message = "There is a role or policy that no assertion looks at."
  }

  # Images and the pipeline

  assert {
    condition     = aws_ecr_repository.app.image_tag_mutability == "IMMUTABLE" && aws_ecr_repository.app.image_scanning_configuration[0].scan_on_push
    error_message = "A tag may come to mean another image, or images are not scanned."
  }
  assert {
    condition = (
      aws_s3_bucket_public_access_block.artifacts.bucket == aws_s3_bucket.artifacts.id
      && aws_s3_bucket_public_access_block.artifacts.block_public_acls
      && aws_s3_bucket_public_access_block.artifacts.block_public_policy
      && aws_s3_bucket_public_access_block.artifacts.ignore_public_acls
      && aws_s3_bucket_public_access_block.artifacts.restrict_public_buckets
    )
    error_message = "The bucket of artifacts can be made public."
  }
  assert {
    condition = jsondecode(aws_s3_bucket_policy.artifacts.policy).Statement == [{
      Action    = "s3:*"
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
      Effect    = "Deny"
      Principal = "*"
      Resource  = [aws_s3_bucket.artifacts.arn, "${aws_s3_bucket.artifacts.arn}/*"]
      Sid       = "OnlyOverTls"
    }]
    error_message = "The bucket's policy allows something, or lets anything in without TLS."
  }
  assert {
    condition     = one(one(aws_s3_bucket_server_side_encryption_configuration.artifacts.rule).apply_server_side_encryption_by_default).sse_algorithm == "AES256"
    error_message = "Artifacts are not encrypted."
  }
  assert {
    condition = { for one in aws_codebuild_project.app.environment[0].environment_variable : one.name => one.value } == {
      REPOSITORY_URL      = aws_ecr_repository.app.repository_url
      IMAGE_TAG_PARAMETER = "/streamgate/image-tag"
      CONTAINER_NAME      = jsondecode(aws_ecs_task_definition.app.container_definitions)[0].name
    }
    error_message = "The build is not given what buildspec.yml reads."
  }
  assert {
    condition     = aws_codebuild_project.app.service_role == aws_iam_role.build.arn && aws_codepipeline.app.role_arn == aws_iam_role.pipeline.arn
    error_message = "The build or the pipeline runs with another role than its own."
  }
  assert {
    condition     = [for stage in aws_codepipeline.app.stage : stage.action[0].provider] == ["CodeStarSourceConnection", "CodeBuild", "ECS"]
    error_message = "The pipeline does something else than fetch, build and deploy."
  }
  assert {
    condition = aws_codepipeline.app.stage[2].action[0].configuration == tomap({
      ClusterName       = "streamgate"
      DeploymentTimeout = "20"
      FileName          = "imagedefinitions.json"
      ServiceName       = "streamgate"
    })
    error_message = "The pipeline deploys something else than what the build writes, or elsewhere."
  }

  # Scaling

  assert {
    condition = (
      aws_appautoscaling_target.app.resource_id == "service/streamgate/streamgate"
      && aws_appautoscaling_policy.requests.target_tracking_scaling_policy_configuration[0].predefined_metric_specification[0].resource_label == "${aws_lb.main.arn_suffix}/${aws_lb_target_group.app.arn_suffix}"
    )
    error_message = "Auto scaling looks at another service or load balancer."
  }
  assert {
    condition     = aws_appautoscaling_policy.requests.target_tracking_scaling_policy_configuration[0].target_value == 36000
    error_message = "Auto scaling adds tasks at another load than documented."
  }
}

run "full_environment" {
  variables {
    media_signing   = "secure-link"
    media_base_url  = "https://cdn.example.com"
    callback_url    = "https://receiver.example.com/hooks"
    callback_events = ["session.started", "session.moved", "session.ended", "session.expired", "session.refused"]
    app_environment = { LOG_LEVEL = "warn", MAX_SESSIONS_PER_USER = "5" }
  }

  assert {
    condition = (
      { for one in jsondecode(aws_ecs_task_definition.app.container_definitions)[0].environment : one.name => one.value }
      == { for name, value in jsondecode(file("./tests/environment.json")).full.environment : name => value }
    )
    error_message = "The environment is not that of tests/environment.json, which src/config.ts is held against as well."
  }
  assert {
    condition = (
      { for name, version in aws_secretsmanager_secret_version.app : name => version.secret_string }
      == { for name, value in jsondecode(file("./tests/environment.json")).full.secrets : name => value }
    )
    error_message = "The secrets are not those of tests/environment.json, which src/config.ts is held against as well."
  }
  assert {
    condition = (
      { for one in jsondecode(aws_ecs_task_definition.app.container_definitions)[0].secrets : one.name => one.valueFrom }
      == { for name, secret in aws_secretsmanager_secret.app : name => secret.arn }
    )
    error_message = "A secret is not given, or another one in its place."
  }
  assert {
    condition = length(setsubtract(
      concat(keys(jsondecode(file("./tests/environment.json")).full.environment), keys(jsondecode(file("./tests/environment.json")).full.secrets)),
      concat(local.reserved_names, keys(var.app_environment))
    )) == 0
    error_message = "app_environment may overwrite what the stack gives: add its name to reserved_names."
  }
}

run "cloudfront" {
  variables {
    media_base_url         = "https://d111111abcdef8.cloudfront.net"
    media_signing          = "cloudfront"
    cloudfront_key_pair_id = "K2JCJMDEHXQW5F"
  }

  assert {
    condition = (
      { for one in jsondecode(aws_ecs_task_definition.app.container_definitions)[0].environment : one.name => one.value }
      == { for name, value in jsondecode(file("./tests/environment.json")).cloudfront.environment : name => value }
    )
    error_message = "The environment is not that of tests/environment.json, which src/config.ts is held against as well."
  }
  assert {
    condition = (
      { for name, version in aws_secretsmanager_secret_version.app : name => version.secret_string }
      == { for name, value in jsondecode(file("./tests/environment.json")).cloudfront.secrets : name => value }
    )
    error_message = "Terraform draws a secret that it is given, which would be in its state, or one that nobody needs."
  }
  assert {
    condition = (
      { for one in jsondecode(aws_ecs_task_definition.app.container_definitions)[0].secrets : one.name => one.valueFrom }
      == { for name, secret in aws_secretsmanager_secret.app : name => secret.arn }
    )
    error_message = "A secret is not given, or another one in its place."
  }
  assert {
    condition = toset(keys(aws_secretsmanager_secret.app)) == toset(concat(
      keys(jsondecode(file("./tests/environment.json")).cloudfront.secrets),
      jsondecode(file("./tests/environment.json")).cloudfront.given
    ))
    error_message = "There is no secret to put the private key into, or one that nobody needs."
  }
  assert {
    condition = alltrue([for secret in aws_secretsmanager_secret.app :
      contains(flatten([for statement in jsondecode(aws_iam_role_policy.execution.policy).Statement : statement.Resource]), secret.arn)
    ])
    error_message = "A task may not read a secret that it names."
  }
  assert {
    condition     = length(setsubtract(concat(keys(local.environment), keys(aws_secretsmanager_secret.app)), local.reserved_names)) == 0
    error_message = "app_environment may overwrite what the stack gives: add its name to reserved_names."
  }
}

run "media_that_nobody_signs" {
  variables {
    media_signing = "none"
  }

  assert {
    condition     = contains(jsondecode(aws_ecs_task_definition.app.container_definitions)[0].environment, { name = "MEDIA_SIGNING", value = "none" })
    error_message = "The service signs all the same."
  }
  assert {
    condition     = toset(keys(aws_secretsmanager_secret.app)) == toset(["INTERNAL_API_TOKEN", "REDIS_PASSWORD"])
    error_message = "There is a secret that nobody needs."
  }
}

run "authentication" {
  variables {
    auth_mode     = "jwt"
    auth_jwks_url = "https://issuer.example.com/.well-known/jwks.json"
    auth_issuer   = "https://issuer.example.com"
    auth_audience = "streamgate"
    # Then tickets have no secret of media to be signed with.
    media_signing = "none"
  }

  assert {
    condition = (
      { for one in jsondecode(aws_ecs_task_definition.app.container_definitions)[0].environment : one.name => one.value }
      == { for name, value in jsondecode(file("./tests/environment.json")).jwt.environment : name => value }
    )
    error_message = "The environment is not that of tests/environment.json, which src/config.ts is held against as well."
  }
  assert {
    condition = (
      { for name, version in aws_secretsmanager_secret_version.app : name => version.secret_string }
      == { for name, value in jsondecode(file("./tests/environment.json")).jwt.secrets : name => value }
    )
    error_message = "The secrets are not those of tests/environment.json, which src/config.ts is held against as well."
  }
  assert {
    condition     = length(setsubtract(concat(keys(local.environment), keys(aws_secretsmanager_secret.app)), local.reserved_names)) == 0
    error_message = "app_environment may overwrite what the stack gives: add its name to reserved_names."
  }
}

# The switches, all at once: none touches what another does.
run "switches" {
  variables {
    execute_command_enabled = true
    firewall_enabled        = false
    redis_cluster_ready     = true
    redis_shard_count       = 4
    deletion_protection     = true
    task_cpu                = 1024
    task_memory             = 2048
  }

  assert {
    condition = (
      !jsondecode(aws_ecs_task_definition.app.container_definitions)[0].readonlyRootFilesystem
      && aws_ecs_service.app.enable_execute_command
      && toset(flatten([for statement in jsondecode(aws_iam_role_policy.task[0].policy).Statement : statement.Action if contains(flatten([statement.Resource]), "*")])) == toset([
        "logs:DescribeLogGroups", "ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel",
        "ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel",
      ])
    )
    error_message = "ECS Exec lacks something, or may do more than it needs."
  }
  assert {
    condition     = length(aws_wafv2_web_acl.main) + length(aws_wafv2_web_acl_association.main) + length(aws_wafv2_web_acl_logging_configuration.main) == 0 && !contains(keys(aws_cloudwatch_log_group.main), "firewall")
    error_message = "Something of the firewall remains."
  }
  assert {
    condition = (
      aws_elasticache_replication_group.main.num_node_groups == 4
      && aws_elasticache_replication_group.main.replicas_per_node_group == 1
      && aws_elasticache_replication_group.main.automatic_failover_enabled
      && { for parameter in aws_elasticache_parameter_group.main.parameter : parameter.name => parameter.value } == { cluster-enabled = "yes", maxmemory-policy = "noeviction" }
    )
    error_message = "Redis is not in cluster mode, with four shards of two."
  }
  assert {
    condition = (
      contains(jsondecode(aws_ecs_task_definition.app.container_definitions)[0].environment, { name = "REDIS_CLUSTER", value = "true" })
      && contains(jsondecode(aws_ecs_task_definition.app.container_definitions)[0].environment, { name = "REDIS_URL", value = "rediss://configuration.redis.example:6379" })
    )
    error_message = "The service is not told that Redis is in cluster mode, or where."
  }
  assert {
    condition     = aws_lb.main.enable_deletion_protection && !aws_ecr_repository.app.force_delete
    error_message = "Load balancer or images do not withstand terraform destroy."
  }
  assert {
    condition     = aws_appautoscaling_policy.requests.target_tracking_scaling_policy_configuration[0].target_value == 144000
    error_message = "A task of four times the size is scaled out as early as the smallest."
  }
}
