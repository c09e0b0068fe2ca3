/*-------------------------------------------------------------------------
 *
 * text/strength.h
 *	  How hard is a secret to guess?
 *
 * For secrets that others made: those made here have 220 random bits.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_STRENGTH_H
#define UT_STRENGTH_H

#include <stdbool.h>
#include <stddef.h>

/*
 * An estimate of the bits of chance in what stands behind the last '.' of a
 * secret: by its length and alphabet, less what a guesser knows.  Where most of
 * it is words a letter counts 2.6 bits and what stands between them 1; so does a
 * step of a sequence (aaa, abc, 321); what is repeated counts once.  0 for a
 * secret that was published.
 */
extern double ut_strength_bits(const char *secret, size_t len);

/* Is this one of the secrets that stand in Unleash's own examples? */
extern bool ut_strength_is_published(const char *secret, size_t len);

#endif							/* UT_STRENGTH_H */
