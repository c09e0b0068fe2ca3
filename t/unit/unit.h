/*-------------------------------------------------------------------------
 *
 * unit.h
 *	  How does a unit test count and report?
 *
 * Each program checks with CHECK and returns unit_end() from main: it prints
 * "ok N checks", or the failed ones by file and line and a closing count.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_UNIT_H
#define UT_UNIT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define UNIT_SHOWN 20			/* failures printed; the rest is counted */

static unsigned long unit_checks;
static unsigned long unit_failures;

/* note says which case of a table it is; it may be any text. */
#define CHECK_NOTE(condition, note) \
	unit_check((condition), __FILE__, __LINE__, #condition, (note))
#define CHECK(condition) CHECK_NOTE(condition, "")

static inline void
unit_check(bool good, const char *file, int line, const char *condition,
		   const char *note)
{
	unit_checks++;
	if (good)
		return;
	if (unit_failures++ < UNIT_SHOWN)
		printf("%s:%d: failed: %s %s\n", file, line, condition, note);
}

static inline int
unit_end(void)
{
	if (unit_failures > 0)
	{
		printf("failed %lu of %lu checks\n", unit_failures, unit_checks);
		return 1;
	}
	printf("ok %lu checks\n", unit_checks);
	return 0;
}

/* splitmix64: a good generator in four lines, the same on every machine. */
static inline uint64_t
unit_random(uint64_t *state)
{
	uint64_t	z = (*state += UINT64_C(0x9E3779B97F4A7C15));

	z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
	return z ^ (z >> 31);
}

#endif							/* UT_UNIT_H */
