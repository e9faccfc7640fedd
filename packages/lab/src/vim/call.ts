import type { Reference, Value } from '../soap/value.js';
import type { XmlElement } from '../soap/xml.js';
import type { StruckFault } from '../faults.js';
import type { Session } from './sessions.js';
import type { VimService } from './service.js';

/** One call of a method by somebody who is logged in. */
export interface Call {
  readonly method: string;
  readonly target: Reference;
  /** The element of the call: its children are the arguments. */
  readonly arguments: XmlElement;
  readonly session: Session;
  /** What the lab was told to do to this call; the parts that strike the call itself have struck. */
  readonly faults: readonly StruckFault[];
  readonly service: VimService;
  /** Aborted when the client hangs up or the lab stops. */
  readonly signal: AbortSignal;
}

/** @returns what goes back as `returnval`: nothing, one value, or for a list several */
export type Method = (call: Call) => Promise<Value | undefined>;
export type Methods = Readonly<Record<string, Method>>;
