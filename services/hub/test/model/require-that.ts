/** What the product did is not what the model knows to be right. @throws */
export function requireThat(right: boolean, problem: string): asserts right {
  if (!right) throw new Error(problem);
}
