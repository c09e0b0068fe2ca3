/*-------------------------------------------------------------------------
 *
 * fuzz_strength.c
 *	  Does src/text/strength.c keep its promises for any text?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../src/text/strength.h"

#define MUST(condition) ((condition) ? (void) 0 : abort())

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A block of exact size, so that a read past the end is seen. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char	   *text = malloc(size + 1);
	double		bits;

	if (size > 0)
		memcpy(text, data, size);
	text = realloc(text, size > 0 ? size : 1);
	bits = ut_strength_bits(text, size);
	MUST(isfinite(bits) && bits >= 0 && bits <= (double) size * 6 + 64);
	MUST(!ut_strength_is_published(text, size) || bits == 0);
	free(text);
	return 0;
}
