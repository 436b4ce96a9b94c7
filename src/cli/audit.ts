import { type Command } from 'commander';
import { type AuditEntry } from '../audit/audit-log.js';
import { type Context } from './context.js';
import { wholeNumber } from './operate.js';
import { table } from './terminal.js';

interface AuditOptions {
  readonly user?: string;
  readonly action?: string;
  readonly by?: string;
  readonly since?: string;
  readonly limit?: number;
}

/** Adds the command that shows what operators changed. */
export function addAudit(program: Command, context: Context): void {
  program
    .command('audit')
    .description('list what operators changed, newest first (scope audit:read)')
    .option('--user <user>', 'only what was done to the sessions of this user')
    .option('--action <name>', 'only this action, such as sessions.end')
    .option('--by <token>', 'only with the token of this name')
    .option('--since <instant>', 'only from this instant on, such as 2030-01-01T00:00:00Z')
    .option('--limit <number>', 'at most so many entries; 100 by default', wholeNumber)
    .action(async ({ user, limit, ...rest }: AuditOptions) => {
      const query = new URLSearchParams(rest);
      if (user !== undefined) query.set('user_id', user);
      if (limit !== undefined) query.set('limit', String(limit));
      const entries = await context.client().lines<AuditEntry>(`/internal/audit?${query.toString()}`);
      const printer = context.printer();
      if (printer.isJson) for (const entry of entries) printer.print(entry, String);
      else printer.print(entries, () => auditText(entries));
    });
}

function auditText(entries: readonly AuditEntry[]): string {
  if (entries.length === 0) return 'The audit has no such entry.';
  const rows = entries.map((one) => [
    one.at,
    one.by ?? '-',
    one.outcome === 'done' ? one.action : `${one.action} (unknown whether it was done)`,
    Object.values(one.target).join(' ') || '-',
    one.note ?? '-',
    one.request_id,
  ]);
  return table([['AT', 'BY', 'ACTION', 'TARGET', 'NOTE', 'REQUEST'], ...rows]);
}
