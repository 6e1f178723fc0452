/**
 * What an operation of the API is: method, path, what goes in, what comes out, and what is done. Requests are
 * checked, answers are typed, and the OpenAPI description is written (`openapi.ts`), all from the same schemas.
 *
 * A topic is a file in `routes/` that exports one function; it gets an {@link Api} and calls `route` for each
 * operation:
 *
 * ```ts
 * export function siteRoutes(api: Api): void {
 *   api.route({
 *     method: 'GET',
 *     path: '/v1/sites/:name',
 *     id: 'showSite',
 *     summary: 'One site',
 *     params: { name: z.string() },
 *     answer: siteSchema,
 *     handle: ({ params }, control) => control.sites.show(params.name),
 *   });
 * }
 * ```
 */
import type { Readable } from 'node:stream';
import * as z from 'zod';
import type { GatewayControl } from '../control/daemon.ts';

/** Members of an object by name. */
export type Shape = Readonly<Record<string, z.ZodType>>;

/** What control gives may be deeply readonly; zod's inferred types are not. */
export type DeepReadonly<T> = T extends (infer Item)[]
  ? readonly DeepReadonly<Item>[]
  : T extends object
    ? { readonly [Key in keyof T]: DeepReadonly<T[Key]> }
    : T;

/** Who may do it, where there are roles: `admin` may do everything, `read` what changes nothing. */
export type Role = 'read' | 'admin';

/** Who asks. */
export interface Caller {
  /** The name of the token; null on the Unix socket. */
  readonly token: string | null;
  readonly role: Role;
}

export interface ApiRequest<Params extends Shape, Query extends Shape, Body extends z.ZodType> {
  readonly params: z.output<z.ZodObject<Params>>;
  readonly query: z.output<z.ZodObject<Query>>;
  readonly body: z.output<Body>;
  /** With `?validate_only=true`: check everything, change nothing, answer what would be. */
  readonly validateOnly: boolean;
  readonly caller: Caller;
  /** Aborted when the client goes away, and when the server ends. */
  readonly signal: AbortSignal;
}

interface OperationCommon<Params extends Shape, Query extends Shape, Body extends z.ZodType> {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** With parameters as `:name`. */
  readonly path: string;
  /** `camelCase`, unique: the operationId. */
  readonly id: string;
  readonly summary: string;
  readonly description?: string;
  /** Parameters in the path: one for each `:name`. */
  readonly params?: Params;
  /**
   * Parameters behind `?`, `snake_case`; others are refused. They come as text: `schemas/parameters.ts` has what
   * makes numbers and so on of them.
   */
  readonly query?: Query;
  /** JSON. Without a schema only nothing, or `{}`, is taken. */
  readonly body?: Body;
  /** Default: `read` for GET, else `admin`. */
  readonly role?: Role;
  /** Whether it changes anything: then it takes `validate_only`. Default: everything but GET. */
  readonly changes?: boolean;
}

/** An operation that answers 200 with JSON. */
export interface JsonOperation<
  Params extends Shape,
  Query extends Shape,
  Body extends z.ZodType,
  Answer extends z.ZodType,
> extends OperationCommon<Params, Query, Body> {
  readonly answer: Answer;
  /** What it throws becomes a problem: `problems.ts`. */
  handle(
    request: ApiRequest<Params, Query, Body>,
    control: GatewayControl,
  ): Promise<DeepReadonly<z.output<Answer>>>;
}

/** An operation that answers 200 with something else: text, a capture, events. */
export interface StreamOperation<Params extends Shape, Query extends Shape, Body extends z.ZodType>
  extends OperationCommon<Params, Query, Body> {
  /** Of the answer. */
  readonly contentType: string;
  /** For the description. */
  readonly answerDescription: string;
  /**
   * The whole answer as text, or a stream. When the client goes away the stream is destroyed; when the server ends
   * it may finish by itself (`signal` says so), and is destroyed a second later.
   */
  handle(
    request: ApiRequest<Params, Query, Body>,
    control: GatewayControl,
  ): Promise<string | Uint8Array | Readable>;
}

/** Any operation, as the server and the description see it. */
export interface AnyOperation extends OperationCommon<Shape, Shape, z.ZodType> {
  readonly answer?: z.ZodType;
  readonly contentType?: string;
  readonly answerDescription?: string;
  handle(request: ApiRequest<Shape, Shape, z.ZodType>, control: GatewayControl): Promise<unknown>;
}

/** What a topic registers its operations with. */
export interface Api {
  route<
    Answer extends z.ZodType,
    Params extends Shape = Readonly<Record<never, never>>,
    Query extends Shape = Readonly<Record<never, never>>,
    Body extends z.ZodType = z.ZodOptional<z.ZodNull>,
  >(operation: JsonOperation<Params, Query, Body, Answer>): void;
  stream<
    Params extends Shape = Readonly<Record<never, never>>,
    Query extends Shape = Readonly<Record<never, never>>,
    Body extends z.ZodType = z.ZodOptional<z.ZodNull>,
  >(operation: StreamOperation<Params, Query, Body>): void;
}

/** An operation that is declared alike in every server: the list that the servers are made from. */
export class OperationList implements Api {
  readonly operations: AnyOperation[] = [];

  route(operation: unknown): void {
    this.#add(operation as AnyOperation);
  }

  stream(operation: unknown): void {
    this.#add(operation as AnyOperation);
  }

  #add(operation: AnyOperation): void {
    if (this.operations.some(({ id }) => id === operation.id)) {
      throw new Error(`two operations have the id ${operation.id}`);
    }
    this.operations.push(operation);
  }
}

export function changesSomething(operation: AnyOperation): boolean {
  return operation.changes ?? operation.method !== 'GET';
}

export function roleOf(operation: AnyOperation): Role {
  return operation.role ?? (operation.method === 'GET' ? 'read' : 'admin');
}

/** Written `true` or `false`; absent is false. */
const validateOnlySchema = z
  .stringbool({ truthy: ['true'], falsy: ['false'], case: 'sensitive' })
  .default(false)
  .describe('Check everything and change nothing.');

export function paramsSchema(operation: AnyOperation): z.ZodObject {
  return z.strictObject(operation.params ?? {});
}

export function querySchema(operation: AnyOperation): z.ZodObject {
  const dry = changesSomething(operation) ? { validate_only: validateOnlySchema } : {};
  return z.strictObject({ ...operation.query, ...dry });
}

/** Where no body is expected, an empty object may stand for none. */
const NO_BODY = z.strictObject({}).nullish();

export function bodySchema(operation: AnyOperation): z.ZodType {
  return operation.body ?? NO_BODY;
}
