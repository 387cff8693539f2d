/**
 * Finds what belongs to objects by the values of a property, without a scan of all objects.
 * @module
 */

/** A value per object, by the keys under which the object is found; each in the order of arrival. */
export class ObjectIndex<T> {
  /** Key → uid → value. */
  readonly #values = new Map<string, Map<string, T>>();

  /** The values of all objects with a key. */
  get(key: string): T[] {
    return [...this.#values.get(key)?.values() ?? []];
  }

  /** Files an object under other keys than before. */
  replace(
    uid: string,
    change: { from?: readonly string[] | undefined; to?: readonly string[]; value: T },
  ): void {
    const { from = [], to = [], value } = change;
    for (const key of from.filter((one) => !to.includes(one))) {
      const values = this.#values.get(key);
      values?.delete(uid);
      if (values?.size === 0) this.#values.delete(key);
    }
    for (const key of to) this.#values.set(key, (this.#values.get(key) ?? new Map()).set(uid, value));
  }
}
