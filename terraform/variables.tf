# Required: what nobody can guess.

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
  description = "Where the streams are: an https URL with {stream_id} in its path."
  type        = string

  # A folder would be one inside the image, which is a sample. Tasks reach port 443 and no other.
  validation {
    condition     = can(regex("^https://[^/?#@:\\s]+/[^?#\\s]*\\{stream_id\\}[^\\s]*$", var.stream_origin))
    error_message = "Give stream_origin as https://host/path with {stream_id} in its path, without credentials or a port."
  }
}

variable "auth_mode" {
  description = "How viewers are authenticated. Without a default, so that nobody runs without by oversight."
  type        = string

  validation {
    condition     = contains(["jwt", "none"], var.auth_mode)
    error_message = "Give auth_mode as jwt, or as none where something in front authenticates."
  }
}

# The service.

variable "name" {
  description = "Name of the stack and prefix of all it makes."
  type        = string
  default     = "streamgate"

  # Load balancers' names stop at 32 characters, prefixes of buckets at 37.
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,22}[a-z0-9]$", var.name)) && !strcontains(var.name, "--")
    error_message = "Give name as 3 to 24 of a-z, 0-9 and single hyphens, with a letter first and no hyphen last."
  }
}

variable "region" {
  description = "AWS region."
  type        = string
  default     = "us-east-1"

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "Give region as AWS writes it, for example eu-central-1."
  }
}

variable "tags" {
  description = "Tags of everything, beside Stack."
  type        = map(string)
  default     = {}
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

variable "media_base_url" {
  description = "What segment URLs begin with, for example a CDN. The origin where it is not given."
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
  description = "Where the keys are that viewers' tokens are checked with."
  type        = string
  default     = null

  validation {
    condition     = var.auth_jwks_url == null || can(regex("^https://[^/?#@:\\s]+(/[^\\s]*)?$", var.auth_jwks_url))
    error_message = "Give auth_jwks_url as an https URL without credentials or a port: tasks reach port 443 and no other."
  }
  validation {
    condition     = (var.auth_jwks_url != null) == (var.auth_mode == "jwt")
    error_message = "Give auth_jwks_url where auth_mode is jwt, and nowhere else."
  }
}

variable "auth_issuer" {
  description = "Who must have issued a viewer's token: its iss."
  type        = string
  default     = null

  # An empty variable would count as none, and tokens of every issuer pass.
  validation {
    condition     = can(regex("\\S", var.auth_issuer)) == (var.auth_mode == "jwt")
    error_message = "Give auth_issuer where auth_mode is jwt, and nowhere else."
  }
}

variable "auth_audience" {
  description = "Whom a viewer's token must be for: its aud."
  type        = string
  default     = null

  validation {
    condition     = can(regex("\\S", var.auth_audience)) == (var.auth_mode == "jwt")
    error_message = "Give auth_audience where auth_mode is jwt, and nowhere else."
  }
}

variable "callback_url" {
  description = "Where events are posted. Nothing is posted where it is not given."
  type        = string
  default     = null

  validation {
    condition     = var.callback_url == null || can(regex("^https://[^/?#@:\\s]+(/[^\\s]*)?$", var.callback_url))
    error_message = "Give callback_url as an https URL without credentials or a port: tasks reach port 443 and no other."
  }
}

variable "callback_events" {
  description = "Which events are posted. The service's default where it is empty: expired and ended."
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
  description = "More variables of the README's table, for example MAX_SESSIONS_PER_USER or LOG_LEVEL."
  type        = map(string)
  default     = {}

  validation {
    condition     = length(setintersection(keys(var.app_environment), local.reserved_names)) == 0
    error_message = "Leave out of app_environment what the stack gives itself or must not differ: ${join(", ", local.reserved_names)}."
  }
  # Everybody who may describe a task definition reads these.
  validation {
    condition     = length([for name in keys(var.app_environment) : name if can(regex("(SECRET|PASSWORD|TOKEN|PRIVATE_KEY)(_FILE)?$", name))]) == 0
    error_message = "Put no secret in app_environment: it stands in the task definition in plain."
  }
}

locals {
  reserved_names = [
    "AUTH_AUDIENCE", "AUTH_ISSUER", "AUTH_JWKS_URL", "AUTH_MODE", "CALLBACK_EVENTS", "CALLBACK_SECRET", "CALLBACK_URL",
    "CLOUDFRONT_KEY_PAIR_ID", "CLOUDFRONT_PRIVATE_KEY", "HOST", "INTERNAL_API_TOKEN", "MEDIA_BASE_URL", "MEDIA_SIGNING",
    "MEDIA_SIGNING_SECRET", "NODE_ENV", "PORT", "REDIS_CLUSTER", "REDIS_PASSWORD", "REDIS_URL", "SESSION_STORE",
    "STREAM_ORIGIN", "TICKET_SECRET", "TRUSTED_PROXIES",
  ]
}

# Its size: docs/scale.md.

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
  description = "Memory of a task in MiB, of what Fargate has for its CPU."
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
  description = "Tasks that auto scaling may run."
  type        = number
  default     = 10

  validation {
    condition     = var.max_tasks >= var.min_tasks && floor(var.max_tasks) == var.max_tasks
    error_message = "Give max_tasks as a whole number from min_tasks up."
  }
}

variable "requests_per_task" {
  description = "Requests a minute and task at which auto scaling adds tasks. 36,000 for each 256 of task_cpu where it is not given. Calibrate with a load test."
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
  description = "A primary and its replicas. From 2 on it fails over."
  type        = number
  default     = 2

  validation {
    condition     = var.redis_nodes_per_shard >= 1 && var.redis_nodes_per_shard <= 6 && floor(var.redis_nodes_per_shard) == var.redis_nodes_per_shard
    error_message = "Give redis_nodes_per_shard as a whole number from 1 to 6."
  }
}

variable "redis_shard_count" {
  description = "Shards. From 2 on Redis runs in cluster mode, and the service is told so."
  type        = number
  default     = 1

  # The service divides users among 256 partitions, so that a 257th shard would hold nothing.
  validation {
    condition     = var.redis_shard_count >= 1 && var.redis_shard_count <= 256 && floor(var.redis_shard_count) == var.redis_shard_count
    error_message = "Give redis_shard_count as a whole number from 1 to 256."
  }
  validation {
    condition     = var.redis_shard_count == 1 || var.redis_cluster_ready
    error_message = "Leave redis_shard_count at 1: the service does not know cluster mode yet (redis_cluster_ready)."
  }
  validation {
    condition     = var.redis_shard_count == 1 || var.redis_nodes_per_shard > 1
    error_message = "Give redis_nodes_per_shard as 2 or more with several shards: cluster mode always fails over, which takes a replica."
  }
}

variable "redis_cluster_ready" {
  description = "Whether the image takes REDIS_CLUSTER=true. Remove this guard with the version that does."
  type        = bool
  default     = false
}

# The rest.

variable "vpc_cidr" {
  description = "Addresses of the VPC."
  type        = string
  default     = "10.0.0.0/16"

  # Sixteenths are the subnets, of which a load balancer wants a /27 at least.
  validation {
    condition     = can(cidrhost(var.vpc_cidr, 0)) && can(regex("/(1[6-9]|2[0-3])$", var.vpc_cidr))
    error_message = "Give vpc_cidr as an IPv4 range of /16 to /23, for example 10.0.0.0/16."
  }
}

variable "availability_zone_count" {
  description = "Zones to spread over."
  type        = number
  default     = 2

  # A load balancer wants two. Six zones in two tiers fit in sixteen subnets.
  validation {
    condition     = contains([2, 3, 4, 5, 6], var.availability_zone_count)
    error_message = "Give availability_zone_count as a whole number from 2 to 6."
  }
}

variable "source_branch" {
  description = "Branch that the pipeline builds and deploys."
  type        = string
  default     = "main"
}

variable "log_retention_days" {
  description = "How long every log group keeps its events."
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

variable "firewall_enabled" {
  description = "Whether WAF stands before the load balancer. It costs $0.60 a million requests: docs/scale.md."
  type        = bool
  default     = true
}

variable "waf_rate_limit" {
  description = "Requests of one address in five minutes, above which it is blocked."
  type        = number
  default     = 10000

  validation {
    condition     = var.waf_rate_limit >= 10 && var.waf_rate_limit <= 2000000000 && floor(var.waf_rate_limit) == var.waf_rate_limit
    error_message = "Give waf_rate_limit as a whole number from 10 to 2000000000."
  }
}

variable "execute_command_enabled" {
  description = "Whether ECS Exec may open a shell in a task. Its root file system is writable then."
  type        = bool
  default     = false
}

variable "deletion_protection" {
  description = "Whether load balancer and images withstand terraform destroy."
  type        = bool
  default     = false
}
