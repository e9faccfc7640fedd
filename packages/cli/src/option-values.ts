import { InvalidArgumentError } from 'commander';

// Values of options, checked before the hub is asked: a wrong one is wrong usage, exit code 2.

/** A whole number from `least` on. */
export function wholeNumber(least: number): (value: string) => number {
  return (value) => {
    const number = Number(value);
    if (value.trim() === '' || !Number.isSafeInteger(number) || number < least)
      throw new InvalidArgumentError(`expected a whole number from ${least} on.`);
    return number;
  };
}

export function oneOf(...values: string[]): (value: string) => string {
  return (value) => {
    if (!values.includes(value)) throw new InvalidArgumentError(`expected ${values.join(' or ')}.`);
    return value;
  };
}
