/** A whole number from 0 up to, not including, `below`. */
export type RandomBelow = (below: number) => number;

/** The same in every run: https://en.wikipedia.org/wiki/Linear_congruential_generator */
export function randomNumbers(): RandomBelow {
  let state = 20_261_121;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}
