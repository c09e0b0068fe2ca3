/*-------------------------------------------------------------------------
 *
 * fuzz_address.c
 *	  Does src/text/address.c keep its promises for any text?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../src/text/address.h"

#define MUST(condition) ((condition) ? (void) 0 : abort())

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is shown of a network is read as the same one, and has its first address. */
static void
check_network(const char *text, size_t size)
{
	UtNetwork	network;
	UtNetwork	again;
	char		shown[UT_NETWORK_SIZE];

	if (!ut_address_parse_network(text, size, &network))
		return;
	MUST(network.bits <= 128 && ut_address_is_in(network.bytes, &network));
	ut_address_format_network(&network, shown);
	MUST(ut_address_parse_network(shown, strlen(shown), &again));
	MUST(again.bits == network.bits && memcmp(again.bytes, network.bytes, UT_ADDRESS_LEN) == 0);
}

/* A block of exact size, so that a read past the end is seen. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char	   *text = malloc(size > 0 ? size : 1);
	uint8_t		address[UT_ADDRESS_LEN];
	UtNetwork	one = {.bits = 128};

	if (size > 0)
		memcpy(text, data, size);
	if (ut_address_parse(text, size, address))
	{
		memcpy(one.bytes, address, UT_ADDRESS_LEN);
		MUST(ut_address_is_in(address, &one));
	}
	check_network(text, size);
	free(text);
	return 0;
}
