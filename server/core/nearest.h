/* nearest: the known word that a mistyped one was probably meant to be.
 *
 *     const char *meant = nearest("prot", flags);   "port"
 *
 * For messages that say what would be right. Threads: any; the answer is one of `words`.
 */
#ifndef BELAY_CORE_NEAREST_H
#define BELAY_CORE_NEAREST_H

/* The word of `words` (which ends in NULL) with the fewest typing mistakes from `typed`,
 * or NULL when even that differs in more than a third of its letters. */
const char *nearest(const char *typed, const char *const *words);

#endif
