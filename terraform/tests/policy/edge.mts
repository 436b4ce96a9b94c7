/** Rules of the edge: load balancer and firewall. */
import { type Rules, same, sorted } from './stack.mts';

export const EDGE_RULES: Rules = {
  *'the load balancer asks tasks for their health, patiently'(stack) {
    interface Group {
      port: number;
      health_check: {
        enabled: boolean;
        path: string;
        port: string;
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
      if (check.port === String(values.port) || check.port === 'traffic-port')
        yield [address, 'asks where clients wait'];
      else if (check.port !== String(stack.operatorPort))
        yield [address, 'asks at a port where the service does not listen'];
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
};
