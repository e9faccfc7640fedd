import { collectGarbage } from './garbage.js';

/** Of 128 connections. */
const MAX_HELD = 256;

let held: object[] = [];

/**
 * Keeps a cipher of ssh2's native add-on alive until V8 has moved it to its old generation.
 *
 * Since Node 24 the destructor of `node::ObjectWrap` needs a current context (node_object_wrap.h, RemoveCleanupHook), and
 * there is none when V8 collects its young generation by itself: a cipher that dies young, with a connection that ends at
 * once, aborts the process ("Assertion failed: (env) != nullptr"). In the old generation they may die.
 */
export function holdWhileYoung<T extends object>(cipher: T): T {
  held.push(cipher);
  if (held.length >= MAX_HELD) {
    // What survives it is old.
    collectGarbage('major');
    held = [];
  }
  return cipher;
}
