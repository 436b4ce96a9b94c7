/** Rules of the network: routes, subnets, security groups. */
import { type Rules } from './stack.mts';

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
export const NETWORK_RULES: Rules = {
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
        if (from !== stack.port && from !== stack.operatorPort)
          yield [address, 'opens another port of the tasks than the two of the service'];
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
        !(
          values.referenced_security_group_id === stack.taskGroup &&
          (from === stack.port || from === stack.operatorPort)
        ) &&
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
};
