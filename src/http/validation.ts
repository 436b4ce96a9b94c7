import { type ValidationError } from '@nestjs/common';
import { type FastifySchemaValidationError } from 'fastify';
import { Matches } from 'class-validator';
import { ID_RULE, PATTERN_RULES, STREAM_NAME } from './fields.js';
import { type FieldError } from './problem.js';

/** Marks a path parameter as the name of a stream. */
export function IsStreamName(): PropertyDecorator {
  return Matches(STREAM_NAME, { message: ID_RULE });
}

/** The errors of a body against its JSON Schema: one message for each field, which says what to send. */
export function fieldErrorsOfBody(errors: readonly FastifySchemaValidationError[]): FieldError[] {
  const messages = new Map<string, string>();
  for (const { instancePath, keyword, params, message = 'is not valid' } of errors) {
    // The errors of the schema behind the condition say what is wrong.
    if (keyword === 'if') continue;
    const at = instancePath.split('/').slice(1);
    const named =
      keyword === 'required'
        ? params.missingProperty
        : keyword === 'additionalProperties' && params.additionalProperty;
    const field = [...at, ...(typeof named === 'string' ? [named] : [])].join('.') || 'body';
    if (!messages.has(field))
      messages.set(field, PATTERN_RULES[String(params.pattern)] ?? describe(keyword, message));
  }
  return [...messages].map(([field, message]) => ({ field, message }));
}

function describe(keyword: string, message: string): string {
  switch (keyword) {
    case 'required':
      return 'is missing';
    case 'additionalProperties':
      return 'is not a known field';
    default:
      return message;
  }
}

/** The errors that class-validator found in path parameters. */
export function fieldErrorsOfParams(errors: readonly ValidationError[]): FieldError[] {
  return errors.map(({ property, constraints = {} }) => ({
    field: property,
    message: Object.values(constraints)[0] ?? 'is not valid',
  }));
}
