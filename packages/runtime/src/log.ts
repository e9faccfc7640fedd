import { pino, type Logger, type DestinationStream } from 'pino';

export type { Logger } from 'pino';

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'silent';

export interface LogOptions {
  /** `sendense-hub`, `sendense-node`, …: on every line. */
  readonly service: string;
  /** @default 'info' */
  readonly level?: LogLevel;
  readonly destination?: DestinationStream;
}

/** Paths whose values never reach a log line, should an object that carries them be logged by mistake. */
const SECRET_PATHS = ['password', 'token', 'secret', 'authorization', 'privateKey', 'key_pem'].flatMap(
  (name) => [name, `*.${name}`, `*.*.${name}`],
);

/** One JSON object a line, on stderr unless told otherwise: stdout belongs to answers. */
export function createLogger({ service, level = 'info', destination }: LogOptions): Logger {
  return pino(
    {
      level,
      base: { service, pid: process.pid },
      redact: { paths: SECRET_PATHS, censor: '[secret]' },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    destination ?? pino.destination({ dest: 2, sync: true }),
  );
}

export const silentLogger: Logger = pino({ level: 'silent' });
