import { SendenseError } from '@sendense/core';
import { NbdClient } from '@sendense/nbd';
import { OwnedStack, type Logger } from '@sendense/runtime';
import { openLane, type Lane } from '@sendense/tunnel/lane';
import type { Delivery, JobSpec, TargetSpec } from './spec.js';

/** The way to the targets, shared by the disks of a job. */
export interface DeliveryRoute extends AsyncDisposable {
  /** The number-th connection of one disk. The caller owns it. */
  connect(target: TargetSpec, number: number, log: Logger, signal: AbortSignal): Promise<NbdClient>;
  /** Resolves with `tunnel_lost` when a part of the way is gone; never otherwise. */
  readonly lost: Promise<SendenseError>;
}

/** @throws `tunnel_lost` · `permission_denied` · `host_key_mismatch` */
export async function openDelivery(spec: JobSpec, log: Logger, signal: AbortSignal): Promise<DeliveryRoute> {
  return spec.delivery.kind === 'direct' ? directRoute() : tunnelRoute(spec, spec.delivery, log, signal);
}

function directRoute(): DeliveryRoute {
  return {
    lost: Promise.withResolvers<SendenseError>().promise,
    connect: ({ address, exportName }, _number, log, signal) =>
      NbdClient.connect({ address, exportName, log, signal }),
    async [Symbol.asyncDispose]() {},
  };
}

/**
 * Several SSH connections, so that several cores encrypt; several channels on each, because the window of a channel bounds
 * what one carries at a long round trip (FACTS §5).
 */
async function tunnelRoute(
  { jobId, nodeName }: JobSpec,
  { hub, privateKeyPem, lanes: count }: Delivery & { kind: 'tunnel' },
  log: Logger,
  signal: AbortSignal,
): Promise<DeliveryRoute> {
  await using opening = new OwnedStack(log);
  const opened = await Promise.allSettled(
    Array.from({ length: count }, async (_, index) => {
      const lane = await openLane({ hub, nodeName, jobId, privateKeyPem, log, signal });
      return opening.use(`lane ${index + 1}`, lane);
    }),
  );
  const lanes: Lane[] = opened.map((result) => {
    if (result.status === 'rejected') throw result.reason;
    return result.value;
  });
  const owned = opening.move();
  return {
    lost: firstLost(lanes),
    connect: async ({ address, exportName }, number, log, signal) => {
      const lane = lanes[number % lanes.length];
      if (!lane || address.kind !== 'tcp') throw new SendenseError('internal', 'no lane to a target');
      const stream = await lane.openPort(address.port, signal);
      return NbdClient.connect({ stream, exportName, log, signal });
    },
    [Symbol.asyncDispose]: () => owned[Symbol.asyncDispose](),
  };
}

function firstLost(lanes: readonly Lane[]): Promise<SendenseError> {
  return new Promise((resolve) => {
    for (const { lost } of lanes) {
      void lost.then((error) => {
        if (error) resolve(withAdvice(error));
      });
    }
  });
}

/** For whoever reads why a backup failed. */
function withAdvice({ code, message, context, retryable }: SendenseError): SendenseError {
  return new SendenseError(
    code,
    `${message}; the node connects again by itself: start the backup again when it is online`,
    {
      context,
      retryable,
    },
  );
}
