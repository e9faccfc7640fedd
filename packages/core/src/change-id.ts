/**
 * How a disk's changeId now relates to the one that a restore point kept: `continues` the same tracking, `foreign` (another
 * uuid part: tracking was started anew, so the old changeId means nothing), `reverted` (the same tracking, at an earlier
 * sequence: the disk went back to an older state), `unknown` (not of the form we know: vCenter must say).
 */
export type ChangeIdRelation = 'continues' | 'foreign' | 'reverted' | 'unknown';

/**
 * `52 de c0 d9 b9 43 9d 10-61 d5 4c 1b e9 7b 65 63/81`: the uuid of the tracking, then a sequence number that every
 * snapshot raises. VMware calls a changeId opaque, so nothing is refused for having another form.
 */
const KNOWN_FORM = /^([0-9a-f][0-9a-f -]*)\/(\d+)$/i;

export function relateChangeIds(previous: string, current: string): ChangeIdRelation {
  const before = parse(previous);
  const now = parse(current);
  if (!before || !now) return 'unknown';
  if (before.uuid !== now.uuid) return 'foreign';
  return now.sequence < before.sequence ? 'reverted' : 'continues';
}

function parse(changeId: string): { readonly uuid: string; readonly sequence: bigint } | undefined {
  const [, uuid, sequence] = KNOWN_FORM.exec(changeId.trim()) ?? [];
  if (uuid === undefined || sequence === undefined) return undefined;
  return { uuid: uuid.replaceAll(/[ -]/g, '').toLowerCase(), sequence: BigInt(sequence) };
}
