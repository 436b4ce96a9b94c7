/** What a run of `terraform test` made, as the rules ask for it. */

export interface Finding {
  readonly rule: string;
  readonly address: string;
  readonly problem: string;
}
export interface Resource<Values = Record<string, unknown>> {
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
export type Told = Iterable<readonly [address: string, problem: string]>;

/** Rules by what must hold. Each yields what breaks it: the resource, and the problem. */
export type Rules = Readonly<Record<string, (stack: Stack) => Told>>;

/** Everything that one run made. */
export class Stack {
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
  /** Port of the service for health checks and operators, as its container is told. */
  get operatorPort(): number {
    interface Container {
      name: string;
      environment?: { name: string; value: string }[];
    }
    const containers = this.all<{ container_definitions: string }>('aws_ecs_task_definition').flatMap(
      ({ values }) => JSON.parse(values.container_definitions) as Container[],
    );
    const ours = this.service.values.load_balancer[0]!.container_name;
    const told = containers.find(({ name }) => name === ours)?.environment ?? [];
    return Number(told.find(({ name }) => name === 'OPERATOR_PORT')?.value);
  }
}

export interface Service {
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
export interface Redis {
  readonly security_group_ids: string[];
  readonly at_rest_encryption_enabled: string | boolean;
  readonly transit_encryption_enabled: boolean;
  readonly transit_encryption_mode: string | null;
  readonly auth_token: string | null;
  readonly automatic_failover_enabled: boolean;
  readonly multi_az_enabled: boolean;
}
export interface Statement {
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

export const list = (value: string | readonly string[] | undefined): readonly string[] =>
  value === undefined ? [] : typeof value === 'string' ? [value] : value;
export const same = (one: unknown, other: unknown): boolean => JSON.stringify(one) === JSON.stringify(other);
export const sorted = (values: Iterable<string>): string[] =>
  [...values].toSorted((a, b) => a.localeCompare(b));
export const statementsOf = (policy: string): Statement[] =>
  (JSON.parse(policy) as { Statement: Statement[] }).Statement;
