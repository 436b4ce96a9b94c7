/** Rules of the pipeline and of alarms. */
import { type Rules, same } from './stack.mts';

export const DELIVERY_RULES: Rules = {
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
      'target-5xx',
      'balancer-5xx',
      'latency',
      'unhealthy-hosts',
      'running-tasks',
      'redis-memory',
      'redis-cpu',
      'redis-evictions',
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
