/**
 * The parts of `@std/assert` that this project's tests use, typed, from the copy of the standard library on npm.
 * @module
 */
import { assert as assertImplementation } from "deno-std/assert/assert.js";
import { assertEquals as assertEqualsImplementation } from "deno-std/assert/equals.js";
import { assertMatch as assertMatchImplementation } from "deno-std/assert/match.js";
import { assertRejects as assertRejectsImplementation } from "deno-std/assert/rejects.js";
import { assertStringIncludes as assertStringIncludesImplementation } from "deno-std/assert/string_includes.js";
import { assertThrows as assertThrowsImplementation } from "deno-std/assert/throws.js";

// deno-lint-ignore no-explicit-any -- a constructor's arguments are contravariant: nothing narrower takes each error class
type ErrorClass<E extends Error> = new (...args: any[]) => E;

/** Fails unless `condition` holds. */
export const assert: (condition: unknown, message?: string) => asserts condition = assertImplementation;

/** Fails unless both are deeply equal. */
export const assertEquals = assertEqualsImplementation as <T>(
  actual: T,
  expected: T,
  message?: string,
) => void;

/** Fails unless `actual` matches. */
export const assertMatch = assertMatchImplementation as (
  actual: string,
  expected: RegExp,
  message?: string,
) => void;

/** Fails unless `actual` contains `expected`. */
export const assertStringIncludes = assertStringIncludesImplementation as (
  actual: string,
  expected: string,
  message?: string,
) => void;

/** Fails unless the promise of `fn` is rejected with an error of the class; gives that error. */
export const assertRejects = assertRejectsImplementation as <E extends Error = Error>(
  fn: () => PromiseLike<unknown>,
  errorClass?: ErrorClass<E>,
  messageIncludes?: string,
) => Promise<E>;

/** Fails unless `fn` throws an error of the class; gives that error. */
export const assertThrows = assertThrowsImplementation as <E extends Error = Error>(
  fn: () => unknown,
  errorClass?: ErrorClass<E>,
  messageIncludes?: string,
) => E;
