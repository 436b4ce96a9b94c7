# Required: no default fits everybody.

variable "hosted_zone_name" {
  description = "Public Route 53 zone that is there already, for example example.com."
  type        = string
}

variable "domain_name" {
  description = "Host name of the service, within hosted_zone_name, for example gate.example.com."
  type        = string

  validation {
    condition     = var.domain_name == var.hosted_zone_name || endswith(var.domain_name, ".${var.hosted_zone_name}")
    error_message = "Give a domain_name that is hosted_zone_name or ends in a dot and hosted_zone_name."
  }
}

variable "source_repository" {
  description = "Repository on GitHub that the pipeline builds, as owner/name."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9-]+/[A-Za-z0-9._-]+$", var.source_repository))
    error_message = "Give source_repository as owner/name, without a host."
  }
}

variable "stream_origin" {
  description = "Address of the streams: an https URL with {stream_id} in its path."
  type        = string

  # A folder would be the sample inside the image. Tasks reach port 443 and no other.
  validation {
    condition     = can(regex("^https://[^/?#@:\\s]+/[^?#\\s]*\\{stream_id\\}[^\\s]*$", var.stream_origin))
    error_message = "Give stream_origin as https://host/path with {stream_id} in its path, without credentials or a port."
  }
}

variable "auth_mode" {
  description = "How viewers are authenticated: jwt or none. It has no default, so that nobody runs without authentication by oversight."
  type        = string

  validation {
    condition     = contains(["jwt", "none"], var.auth_mode)
    error_message = "Give auth_mode as jwt, or as none if a server in front of the service authenticates viewers."
  }
}

# The service.

variable "name" {
  description = "Name of the stack, and prefix of the names of its resources."
  type        = string
  default     = "streamgate"

  # Load balancers' names stop at 32 characters, prefixes of buckets at 37.
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,22}[a-z0-9]$", var.name)) && !strcontains(var.name, "--")
    error_message = "Give name as 3 to 24 of a-z, 0-9 and single hyphens, with a letter first and no hyphen last."
  }
}

variable "app_port" {
  description = "Port that the service listens on."
  type        = number
  default     = 3000

  # The image runs as a user who may not bind lower ones.
  validation {
    condition     = var.app_port >= 1024 && var.app_port <= 65535 && floor(var.app_port) == var.app_port
    error_message = "Give app_port as a whole number from 1024 to 65535."
  }
}

variable "operator_port" {
  description = "Second port of a task, for the health checks of the load balancer, for /internal and for /metrics. They get through there while clients connect faster than the task can answer."
  type        = number
  default     = 3001

  validation {
    condition     = var.operator_port >= 1024 && var.operator_port <= 65535 && floor(var.operator_port) == var.operator_port
    error_message = "Give operator_port as a whole number from 1024 to 65535."
  }

  validation {
    condition     = var.operator_port != var.app_port
    error_message = "Give operator_port another value than app_port."
  }
}

variable "media_base_url" {
  description = "Beginning of segment URLs, for example that of a CDN. By default the origin."
  type        = string
  default     = null

  validation {
    condition     = var.media_base_url == null || can(regex("^https?://[^?#@\\s]+$", var.media_base_url))
    error_message = "Give media_base_url as an http(s):// URL without credentials or query."
  }
}

variable "media_signing" {
  description = "How segment URLs are signed: hmac, secure-link for nginx, cloudfront, or none."
  type        = string
  default     = "hmac"

  validation {
    condition     = contains(["hmac", "secure-link", "cloudfront", "none"], var.media_signing)
    error_message = "Give media_signing as hmac, secure-link, cloudfront or none."
  }
}

variable "cloudfront_key_pair_id" {
  description = "Id of the public key in CloudFront. The private one is put into its secret by hand: README.md."
  type        = string
  default     = null

  validation {
    condition     = var.cloudfront_key_pair_id == null || can(regex("^[A-Za-z0-9]+$", var.cloudfront_key_pair_id))
    error_message = "Give cloudfront_key_pair_id as CloudFront shows it: letters and digits."
  }
  validation {
    condition     = (var.cloudfront_key_pair_id != null) == (var.media_signing == "cloudfront")
    error_message = "Give cloudfront_key_pair_id where media_signing is cloudfront, and nowhere else."
  }
}

variable "auth_jwks_url" {
  description = "Address of the issuer's public keys (JWKS), which viewers' tokens are checked with."
  type        = string
  default     = null

  validation {
    condition     = var.auth_jwks_url == null || can(regex("^https://[^/?#@:\\s]+(/[^\\s]*)?$", var.auth_jwks_url))
    error_message = "Give auth_jwks_url as an https URL without credentials or a port: tasks reach port 443 and no other."
  }
  validation {
    condition     = (var.auth_jwks_url == null ? 0 : 1) + (var.auth_public_key == null ? 0 : 1) == (var.auth_mode == "jwt" ? 1 : 0)
    error_message = "Give either auth_jwks_url or auth_public_key if auth_mode is jwt, and neither otherwise."
  }
}

variable "auth_public_key" {
  description = "Public key (PEM) that viewers' tokens are checked with, for an issuer that publishes no JWKS."
  type        = string
  default     = null

  validation {
    condition     = var.auth_public_key == null || can(regex("^\\s*-----BEGIN PUBLIC KEY-----\\s[A-Za-z0-9+/=\\s]+-----END PUBLIC KEY-----\\s*$", var.auth_public_key))
    error_message = "Give auth_public_key as PEM, beginning with -----BEGIN PUBLIC KEY-----. A private key does not belong here."
  }
}

variable "auth_issuer" {
  description = "Issuer of viewers' tokens: their claim iss."
  type        = string
  default     = null

  # The service takes an empty variable for none, and would then accept tokens of every issuer.
  validation {
    condition     = can(regex("\\S", var.auth_issuer)) == (var.auth_mode == "jwt")
    error_message = "Give auth_issuer where auth_mode is jwt, and nowhere else."
  }
}

variable "auth_audience" {
  description = "Audience of viewers' tokens: their claim aud."
  type        = string
  default     = null

  validation {
    condition     = can(regex("\\S", var.auth_audience)) == (var.auth_mode == "jwt")
    error_message = "Give auth_audience where auth_mode is jwt, and nowhere else."
  }
}

variable "callback_url" {
  description = "Address that events are posted to. By default no event is posted."
  type        = string
  default     = null

  validation {
    condition     = var.callback_url == null || can(regex("^https://[^/?#@:\\s]+(/[^\\s]*)?$", var.callback_url))
    error_message = "Give callback_url as an https URL without credentials or a port: tasks reach port 443 and no other."
  }
}

variable "callback_events" {
  description = "Events that are posted. If it is empty, the service posts expired and ended."
  type        = list(string)
  default     = []

  validation {
    condition = alltrue([for event in var.callback_events : contains(
      ["session.started", "session.moved", "session.ended", "session.expired", "session.refused"], event
    )])
    error_message = "Give callback_events of session.started, .moved, .ended, .expired and .refused."
  }
  validation {
    condition     = length(var.callback_events) == 0 || var.callback_url != null
    error_message = "Give callback_url as well: callback_events have no effect without it."
  }
}

variable "app_environment" {
  description = "More variables of the main README's table, for example MAX_SESSIONS_PER_USER or LOG_LEVEL."
  type        = map(string)
  default     = {}

  validation {
    condition     = length(setintersection(keys(var.app_environment), local.reserved_names)) == 0
    error_message = "Leave these out of app_environment, because the stack sets them or they must not differ: ${join(", ", local.reserved_names)}."
  }
  # Everybody with the right to describe a task definition reads these.
  validation {
    condition     = length([for name in keys(var.app_environment) : name if can(regex("(SECRET|PASSWORD|TOKEN|PRIVATE_KEY)(_FILE)?$", name))]) == 0
    error_message = "Put no secret in app_environment: it would stand in the task definition in plain text."
  }
}

locals {
  reserved_names = [
    "AUTH_AUDIENCE", "AUTH_ISSUER", "AUTH_JWKS_URL", "AUTH_JWT_PUBLIC_KEY", "AUTH_MODE", "CALLBACK_EVENTS", "CALLBACK_SECRET", "CALLBACK_URL", "CALLBACK_URLS",
    "CLOUDFRONT_KEY_PAIR_ID", "CLOUDFRONT_PRIVATE_KEY", "HOST", "INTERNAL_API_TOKEN", "MEDIA_BASE_URL", "MEDIA_SIGNING",
    "MEDIA_SIGNING_SECRET", "NODE_ENV", "OPERATOR_PORT", "PORT", "REDIS_CLUSTER", "REDIS_PASSWORD", "REDIS_URL", "SESSION_STORE",
    "STREAM_ORIGIN", "TICKET_SECRET", "TRUSTED_PROXIES",
  ]
}

# Size: docs/scale.md.

variable "task_cpu" {
  description = "CPU of a task in units of 1/1024 vCPU. One Node process uses little more than 1024."
  type        = number
  default     = 256

  validation {
    condition     = contains([256, 512, 1024, 2048], var.task_cpu)
    error_message = "Give task_cpu as 256, 512, 1024 or 2048."
  }
}

variable "task_memory" {
  description = "Memory of a task in MiB: a size that Fargate offers for task_cpu."
  type        = number
  default     = 512

  validation {
    condition = (
      var.task_memory >= 2 * var.task_cpu && var.task_memory <= 8 * var.task_cpu
      && (var.task_memory % 1024 == 0 || var.task_memory == 512)
    )
    error_message = "Give task_memory as 512 or a multiple of 1024, from 2 to 8 MiB per unit of task_cpu."
  }
}

variable "min_tasks" {
  description = "Tasks that always run."
  type        = number
  default     = 2

  validation {
    condition     = var.min_tasks >= 1 && floor(var.min_tasks) == var.min_tasks
    error_message = "Give min_tasks as a whole number from 1 up."
  }
}

variable "max_tasks" {
  description = "Tasks that auto scaling may run at most."
  type        = number
  default     = 10

  validation {
    condition     = var.max_tasks >= var.min_tasks && floor(var.max_tasks) == var.max_tasks
    error_message = "Give max_tasks as a whole number from min_tasks up."
  }
}

variable "requests_per_task" {
  description = "Requests a minute and task at which auto scaling adds tasks. By default 24,000 for each 256 of task_cpu. Calibrate it with a load test."
  type        = number
  default     = null

  validation {
    condition     = var.requests_per_task == null ? true : var.requests_per_task >= 1 && floor(var.requests_per_task) == var.requests_per_task
    error_message = "Give requests_per_task as a whole number from 1 up."
  }
}

variable "redis_node_type" {
  description = "Type of a Redis node."
  type        = string
  default     = "cache.t4g.micro"

  validation {
    condition     = can(regex("^cache\\.[a-z0-9]+\\.[a-z0-9]+$", var.redis_node_type))
    error_message = "Give redis_node_type as ElastiCache writes it, for example cache.m7g.large."
  }
}

variable "redis_nodes_per_shard" {
  description = "Nodes of a shard: a primary and its replicas. From 2 on a shard fails over."
  type        = number
  default     = 2

  validation {
    condition     = var.redis_nodes_per_shard >= 1 && var.redis_nodes_per_shard <= 6 && floor(var.redis_nodes_per_shard) == var.redis_nodes_per_shard
    error_message = "Give redis_nodes_per_shard as a whole number from 1 to 6."
  }
}

variable "redis_shard_count" {
  description = "Shards. From 2 on Redis runs in cluster mode."
  type        = number
  default     = 1

  # The service divides users among 256 partitions, so that a 257th shard would be empty.
  validation {
    condition     = var.redis_shard_count >= 1 && var.redis_shard_count <= 256 && floor(var.redis_shard_count) == var.redis_shard_count
    error_message = "Give redis_shard_count as a whole number from 1 to 256."
  }
  validation {
    condition     = var.redis_shard_count == 1 || var.redis_nodes_per_shard > 1
    error_message = "Give redis_nodes_per_shard as 2 or more with several shards: cluster mode always fails over, which takes a replica."
  }
}

variable "redis_engine" {
  description = "Engine of ElastiCache: redis (7.1) or valkey (8.0), which costs a fifth less. Changing it moves to a new stack: README.md."
  type        = string
  default     = "redis"

  validation {
    condition     = contains(["redis", "valkey"], var.redis_engine)
    error_message = "Give redis_engine as redis or valkey."
  }
}

variable "redis_snapshot_retention_days" {
  description = "Days for which ElastiCache keeps a daily snapshot. Sessions live for seconds, so that the default is none. Callbacks that wait are in it as well."
  type        = number
  default     = 0

  validation {
    condition     = var.redis_snapshot_retention_days >= 0 && var.redis_snapshot_retention_days <= 35 && floor(var.redis_snapshot_retention_days) == var.redis_snapshot_retention_days
    error_message = "Give redis_snapshot_retention_days as a whole number from 0 to 35."
  }
}

variable "cpu_architecture" {
  description = "Architecture of tasks and builds: X86_64 or ARM64, whose tasks cost a fifth less."
  type        = string
  default     = "X86_64"

  validation {
    condition     = contains(["X86_64", "ARM64"], var.cpu_architecture)
    error_message = "Give cpu_architecture as X86_64 or ARM64."
  }
}

variable "spot_percentage" {
  description = "Share of tasks, in per cent, that run on Fargate Spot for about a third of the price. AWS ends such a task with two minutes' notice. One task is always on demand."
  type        = number
  default     = 0

  validation {
    condition     = var.spot_percentage >= 0 && var.spot_percentage <= 100 && floor(var.spot_percentage) == var.spot_percentage
    error_message = "Give spot_percentage as a whole number from 0 to 100."
  }
}

# Network.

variable "vpc_cidr" {
  description = "Addresses of the VPC."
  type        = string
  default     = "10.0.0.0/16"

  # Each subnet is a sixteenth, and a load balancer wants a /27 at least.
  validation {
    condition     = can(cidrhost(var.vpc_cidr, 0)) && can(regex("/(1[6-9]|2[0-3])$", var.vpc_cidr))
    error_message = "Give vpc_cidr as an IPv4 range of /16 to /23, for example 10.0.0.0/16."
  }
}

variable "availability_zone_count" {
  description = "Availability zones that the stack spreads over."
  type        = number
  default     = 2

  # A load balancer wants two. No more than six zones fit in the addresses.
  validation {
    condition     = contains([2, 3, 4, 5, 6], var.availability_zone_count)
    error_message = "Give availability_zone_count as a whole number from 2 to 6."
  }
}

variable "task_network" {
  description = "Network of tasks: public (public addresses), nat (private subnets and NAT gateways) or endpoints (private subnets, VPC endpoints and no way to the internet)."
  type        = string
  default     = "public"

  validation {
    condition     = contains(["public", "nat", "endpoints"], var.task_network)
    error_message = "Give task_network as public, nat or endpoints."
  }
  validation {
    condition     = var.task_network == "public" || var.existing_network == null
    error_message = "Leave task_network out: existing_network says which subnets tasks run in."
  }
}

variable "existing_network" {
  description = "A VPC to use instead of one of the stack's own. cidr_blocks are the addresses that the load balancer connects from. Tasks need a way to port 443: to AWS and to the origin."
  type = object({
    vpc_id                    = string
    cidr_blocks               = list(string)
    public_subnet_ids         = list(string)
    task_subnet_ids           = list(string)
    redis_subnet_ids          = list(string)
    tasks_have_public_address = optional(bool, false)
  })
  default = null

  validation {
    condition = var.existing_network == null ? true : (
      length(var.existing_network.public_subnet_ids) >= 2 && length(var.existing_network.task_subnet_ids) >= 1
      && length(var.existing_network.redis_subnet_ids) >= 1 && length(var.existing_network.cidr_blocks) >= 1
    )
    error_message = "Give existing_network two public subnets or more, and at least one of everything else."
  }
}

variable "ipv6_enabled" {
  description = "Whether clients reach the service by IPv6 as well (dual stack, with an AAAA record)."
  type        = bool
  default     = false
}

variable "latency_routing_enabled" {
  description = "Whether the DNS record is one of several, of stacks with the same domain_name in other regions. Each client reaches the nearest. A user's limit is counted in each region by itself."
  type        = bool
  default     = false
}

variable "scraper_security_group_ids" {
  description = "Security groups whose members may scrape /metrics of the tasks, for example that of a Prometheus. They reach /internal as well, which asks for its token."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for id in var.scraper_security_group_ids : can(regex("^sg-[0-9a-f]+$", id))])
    error_message = "Give scraper_security_group_ids as ids of security groups, for example sg-0123456789abcdef0."
  }
}

# Deployment.

variable "source_branch" {
  description = "Branch that the pipeline builds and deploys."
  type        = string
  default     = "main"
}

variable "deployment_approval_required" {
  description = "Whether a person approves each deployment to this stack, in the console of CodePipeline."
  type        = bool
  default     = false
}

variable "staging_stack" {
  description = "Name of a stack in the same account and region that the pipeline deploys to first. That stack names this one in deployed_by_stack."
  type        = string
  default     = null

  validation {
    condition     = var.staging_stack == null || (can(regex("^[a-z][a-z0-9-]{1,22}[a-z0-9]$", var.staging_stack)) && var.staging_stack != var.name)
    error_message = "Give staging_stack as the name of another stack."
  }
}

variable "deployed_by_stack" {
  description = "Name of the stack whose pipeline deploys to this one, which then has no repository and pipeline of its own."
  type        = string
  default     = null

  validation {
    condition     = var.deployed_by_stack == null || (can(regex("^[a-z][a-z0-9-]{1,22}[a-z0-9]$", var.deployed_by_stack)) && var.deployed_by_stack != var.name)
    error_message = "Give deployed_by_stack as the name of another stack."
  }
  validation {
    condition     = var.deployed_by_stack == null || (var.staging_stack == null && !var.deployment_approval_required)
    error_message = "Leave staging_stack and deployment_approval_required out: a stack with deployed_by_stack has no pipeline."
  }
}

variable "initial_image_tag" {
  description = "Tag of the image that the first apply starts. Afterwards the pipeline writes the tag, and this input has no effect."
  type        = string
  default     = "none-yet"

  validation {
    condition     = can(regex("^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$", var.initial_image_tag))
    error_message = "Give initial_image_tag as the tag of an image, without its repository."
  }
}

# Operation.

variable "alarms_enabled" {
  description = "Whether alarms, their topic, and the rollback of deployments by alarms are made. Each alarm costs 0.10 dollars a month."
  type        = bool
  default     = true
}

variable "alarm_emails" {
  description = "Addresses that alarms are mailed to. Each person confirms by a link in the first mail."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for address in var.alarm_emails : can(regex("^[^@\\s]+@[^@\\s]+$", address))])
    error_message = "Give alarm_emails as addresses of e-mail."
  }
  validation {
    condition     = length(var.alarm_emails) == 0 || var.alarms_enabled
    error_message = "Give alarm_emails only with alarms_enabled: without alarms there is no topic to subscribe to."
  }
}

variable "dashboard_enabled" {
  description = "Whether a dashboard is made. Three dashboards of an account are free, each more costs 3 dollars a month."
  type        = bool
  default     = true
}

variable "metrics_agent_enabled" {
  description = "Whether an agent scrapes /metrics of every task into CloudWatch, with alarms on them. It costs about 15 dollars a month."
  type        = bool
  default     = false
}

variable "metrics_agent_image" {
  description = "Image of the agent: AWS Distro for OpenTelemetry."
  type        = string
  default     = "public.ecr.aws/aws-observability/aws-otel-collector:v0.48.0"

  validation {
    condition     = can(regex("^[^\\s:@]+(:[A-Za-z0-9._-]+|@sha256:[0-9a-f]{64})$", var.metrics_agent_image)) && !endswith(var.metrics_agent_image, ":latest")
    error_message = "Give metrics_agent_image with a tag other than latest, or with a digest."
  }
}

variable "container_insights" {
  description = "CloudWatch Container Insights: disabled, enabled (about 7 dollars a month) or enhanced. CPU, memory and healthy tasks are measured without it."
  type        = string
  default     = "disabled"

  validation {
    condition     = contains(["disabled", "enabled", "enhanced"], var.container_insights)
    error_message = "Give container_insights as disabled, enabled or enhanced."
  }
}

variable "access_logs_enabled" {
  description = "Whether the load balancer writes a line for each request to a bucket. Tickets in URLs are in them."
  type        = bool
  default     = false
}

variable "flow_logs_enabled" {
  description = "Whether the VPC writes its connections to a bucket."
  type        = bool
  default     = false
}

variable "log_retention_days" {
  description = "Days for which every log group keeps its events."
  type        = number
  default     = 30

  validation {
    condition = contains(
      [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653],
      var.log_retention_days
    )
    error_message = "Give log_retention_days as CloudWatch has it: 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731 or a number of years up to ten."
  }
}

# Security.

variable "permissions_boundary_arn" {
  description = "Policy that bounds every role of the stack. By default none."
  type        = string
  default     = null

  validation {
    condition     = var.permissions_boundary_arn == null || can(regex("^arn:[a-z-]+:iam::([0-9]{12}|aws):policy/.+$", var.permissions_boundary_arn))
    error_message = "Give permissions_boundary_arn as the ARN of a policy of IAM."
  }
}

variable "kms_key_arn" {
  description = "Key of KMS that encrypts Redis, secrets, images, logs and artifacts, instead of keys that AWS owns. Its policy must admit the services: README.md."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/.+$", var.kms_key_arn))
    error_message = "Give kms_key_arn as the ARN of a key, not of an alias."
  }
}

variable "firewall_enabled" {
  description = "Whether WAF filters requests before the load balancer. It costs 9 dollars a month and 0.60 a million requests: README.md."
  type        = bool
  default     = true
}

variable "waf_rate_limit" {
  description = "Requests of one address in five minutes. WAF blocks an address that sends more."
  type        = number
  default     = 10000

  validation {
    condition     = var.waf_rate_limit >= 10 && var.waf_rate_limit <= 2000000000 && floor(var.waf_rate_limit) == var.waf_rate_limit
    error_message = "Give waf_rate_limit as a whole number from 10 to 2000000000."
  }
}

variable "execute_command_enabled" {
  description = "Whether ECS Exec may open a shell in a task. The root file system of tasks is then writable."
  type        = bool
  default     = false
}

variable "deletion_protection" {
  description = "Whether the load balancer, images and stored logs withstand terraform destroy."
  type        = bool
  default     = false
}
