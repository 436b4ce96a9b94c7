/** Rules of tasks: containers, deployments, scaling. */
import { type Rules, same, sorted } from './stack.mts';

/** What a container definition may say. Whoever adds a key decides what must hold for it. */
const CONTAINER_KEYS = new Set([
  'name',
  'image',
  'essential',
  'user',
  'portMappings',
  'environment',
  'secrets',
  'readonlyRootFilesystem',
  'linuxParameters',
  'stopTimeout',
  'logConfiguration',
]);

export const TASKS_RULES: Rules = {
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
    if (!values.deployment_circuit_breaker[0]?.enable || !values.deployment_circuit_breaker[0].rollback)
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
};
