/**
 * Chance that always comes out alike.
 * @module
 */

/** Makes `Math.random()` give one value until it is disposed. */
export class FixedRandom implements Disposable {
  readonly #random = Math.random;

  constructor(value: number) {
    Math.random = () => value;
  }

  [Symbol.dispose](): void {
    Math.random = this.#random;
  }
}
