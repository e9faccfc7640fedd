/** The hub's REST API, from outside. Every answer is kept, to look for secrets in it. */
export class Api {
  readonly answers: string[] = [];

  constructor(
    readonly url: string,
    readonly token: string,
  ) {}

  get<T>(path: string): Promise<T> {
    return this.#call('GET', path);
  }

  post<T>(path: string, body: unknown = {}): Promise<T> {
    return this.#call('POST', path, body);
  }

  /** The events of a backup from its first to its last, as they were sent. */
  async events(backupId: string): Promise<string> {
    const text = await (await this.#fetch('GET', `backups/${backupId}/events`)).text();
    this.answers.push(text);
    return text;
  }

  async #call<T>(method: string, path: string, body?: unknown): Promise<T> {
    const answer = await this.#fetch(method, path, body);
    const text = await answer.text();
    // The one answer in which a secret belongs.
    if (!/^nodes(\/[^/]+\/token)?$/.test(path) || method === 'GET') this.answers.push(text);
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
    return JSON.parse(text) as T;
  }

  #fetch(method: string, path: string, body?: unknown): Promise<Response> {
    return fetch(`${this.url}/api/v1/${path}`, {
      method,
      headers: {
        authorization: `Bearer ${this.token}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(120_000),
    });
  }
}
