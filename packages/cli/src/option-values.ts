import { InvalidArgumentError } from 'commander';

// Values of options, checked before the hub is asked: a wrong one is wrong usage, exit code 2.

/** A whole number from `least` on, up to `most` where there is a limit. */
export function wholeNumber(least: number, most?: number): (value: string) => number {
  return (value) => {
    const number = Number(value);
    if (!/^\d+$/.test(value) || !Number.isSafeInteger(number) || number < least || number > (most ?? number))
      throw new InvalidArgumentError(
        `expected a whole number from ${least} ${most === undefined ? 'on' : `to ${most}`}.`,
      );
    return number;
  };
}

/** How many rows of a list: the hub gives no more at once. */
export const rowLimit = wholeNumber(1, 250);

export function oneOf(...values: string[]): (value: string) => string {
  const words = values.join(', ').replace(/, (\S+)$/, ' or $1');
  return (value) => {
    if (!values.includes(value)) throw new InvalidArgumentError(`expected ${words}.`);
    return value;
  };
}
