import { SendenseError, toSendenseError, type ErrorCode } from '@sendense/core';

/** What is refused of a stored login, and how another one is stored. */
const STORE_ANOTHER: Readonly<Partial<Record<ErrorCode, (vcenterId: string) => string>>> = {
  vcenter_login_failed: (id) => `If it was changed there, store the new one: sendense vcenter update ${id}`,
  vcenter_thumbprint_mismatch: (id) =>
    `To confirm it: sendense vcenter update ${id} --thumbprint <the one that it presents>`,
};

/** Asks a vCenter with what is stored of it. An error that says that this is out of date says how to change it, too. */
export async function withStoredLogin<T>(vcenterId: string, ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch (thrown) {
    const error = toSendenseError(thrown);
    const advice = STORE_ANOTHER[error.code]?.(vcenterId);
    if (advice === undefined) throw thrown;
    throw new SendenseError(error.code, `${error.message}. ${advice}`, {
      context: { ...error.context, vcenter_id: vcenterId },
      cause: error,
    });
  }
}
