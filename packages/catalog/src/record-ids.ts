/** The id itself, or with `-2`, `-3`, … appended when it is taken. Ask inside the transaction that uses it. */
export async function freeId(wanted: string, isTaken: (id: string) => Promise<boolean>): Promise<string> {
  let id = wanted;
  for (let suffix = 2; await isTaken(id); suffix++) id = `${wanted}-${suffix}`;
  return id;
}
