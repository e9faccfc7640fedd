import { printable } from '@sendense/core';

/** An answer of the hub that is not a success, or no answer. */
export class ApiError extends Error {
  override readonly name = 'ApiError';

  constructor(
    /** HTTP status; 0 when the hub could not be reached. */
    readonly status: number,
    readonly code: string,
    message: string,
    readonly context: Readonly<Record<string, string>> = {},
  ) {
    super(message);
  }
}

/** The hub answers within seconds; the longest wait that it allows itself is for a vCenter that keeps silent, half a minute. */
const ANSWER_MS = 60_000;

/** A client of the hub's REST API. */
export class ApiClient {
  constructor(
    readonly url: string,
    private readonly token: string | undefined,
    private readonly answerMs = ANSWER_MS,
  ) {}

  get<T>(path: string, query: Record<string, string | number | undefined> = {}): Promise<T> {
    const given = Object.entries(query).flatMap(([key, value]) =>
      value === undefined ? [] : [[key, String(value)] as const],
    );
    const search = new URLSearchParams(Object.fromEntries(given)).toString();
    return this.request('GET', search ? `${path}?${search}` : path);
  }

  post<T>(path: string, body: unknown = {}): Promise<T> {
    return this.request('POST', path, body);
  }

  put<T>(path: string, body: unknown): Promise<T> {
    return this.request('PUT', path, body);
  }

  patch<T>(path: string, body: unknown): Promise<T> {
    return this.request('PATCH', path, body);
  }

  delete<T>(path: string): Promise<T> {
    return this.request('DELETE', path);
  }

  /** Every page of a list, one after another. */
  async list<T>(
    path: string,
    key: string,
    query: Record<string, string | number | undefined> = {},
  ): Promise<T[]> {
    const all: T[] = [];
    let cursor: string | undefined;
    do {
      const page = await this.get<Record<string, unknown>>(path, { ...query, cursor });
      all.push(...((page[key] ?? []) as T[]));
      cursor = typeof page['next_cursor'] === 'string' ? page['next_cursor'] : undefined;
    } while (cursor !== undefined);
    return all;
  }

  private async request<T>(method: string, path: string, body?: unknown): Promise<T> {
    const signal = AbortSignal.timeout(this.answerMs);
    try {
      const response = await fetch(below(this.url, path), {
        method,
        headers: {
          ...this.authorization(),
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        signal,
      });
      if (!response.ok) throw await problem(response);
      return (response.status === 204 ? undefined : this.parse(await response.text())) as T;
    } catch (error) {
      throw error instanceof ApiError ? error : signal.aborted ? this.silent() : this.noAnswer(error);
    }
  }

  private authorization(): Record<string, string> {
    return this.token === undefined ? {} : { authorization: `Bearer ${this.token}` };
  }

  private parse(answer: string): unknown {
    try {
      return JSON.parse(answer);
    } catch {
      throw new ApiError(
        0,
        'hub_unreachable',
        `what answers at ${this.url} is not the hub's API: is this its address? Set it with 'sendense login' or SENDENSE_URL`,
      );
    }
  }

  private silent(): ApiError {
    return new ApiError(
      0,
      'hub_unreachable',
      `the hub at ${this.url} has not answered for ${this.answerMs / 1000} s. If it took the request, what was asked for may still be done: look at its log and at ${this.url}/health, and list what there is before you ask again`,
    );
  }

  private noAnswer(error: unknown): ApiError {
    const cause =
      error instanceof Error && error.cause instanceof Error ? error.cause.message : String(error);
    return new ApiError(
      0,
      'hub_unreachable',
      `the hub at ${this.url} does not answer (${cause}): is sendense-hub running, and is this its address? Set it with 'sendense login' or SENDENSE_URL`,
    );
  }
}

/** The hub may be behind a proxy that gives it a path of its own: `https://example.org/sendense`. */
function below(url: string, path: string): URL {
  const prefix = new URL(url).pathname.replace(/\/+$/, '');
  return new URL(`${prefix}${path}`, url);
}

async function problem(response: Response): Promise<ApiError> {
  const body: unknown = await response.json().catch(() => undefined);
  const details = typeof body === 'object' && body !== null ? (body as Record<string, unknown>) : {};
  const code = typeof details['code'] === 'string' ? details['code'] : `http_${response.status}`;
  const detail = typeof details['detail'] === 'string' ? details['detail'] : response.statusText;
  const context = (details['context'] ?? {}) as Record<string, string>;
  const hint = response.status === 401 ? ". Log in with 'sendense login', or set SENDENSE_TOKEN" : '';
  return new ApiError(response.status, code, `${printable(detail)}${hint}`, context);
}
