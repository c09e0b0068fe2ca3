/*-------------------------------------------------------------------------
 *
 * address.c
 *	  What does an IP address look like?
 *
 * Plain C: knows nothing of PostgreSQL, tokens or HTTP.  No locks.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "text/address.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define V4_PLACE 12				/* of the first byte of an IPv4 address */

static const uint8_t v4_prefix[V4_PLACE] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF};

static bool
is_v4(const uint8_t *address)
{
	return memcmp(address, v4_prefix, V4_PLACE) == 0;
}

/* An address and nothing else. */
static bool
parse_bare(const char *text, size_t len, uint8_t *address)
{
	char		copy[INET6_ADDRSTRLEN];

	if (len == 0 || len >= sizeof(copy) || memchr(text, '\0', len) != NULL)
		return false;
	memcpy(copy, text, len);
	copy[len] = '\0';
	memcpy(address, v4_prefix, V4_PLACE);
	return inet_pton(AF_INET, copy, address + V4_PLACE) == 1 ||
		inet_pton(AF_INET6, copy, address) == 1;
}

/* A number of at most so many digits, without zeros in front. */
static bool
parse_number(const char *text, size_t len, size_t digits, unsigned *number)
{
	*number = 0;
	if (len == 0 || len > digits || (len > 1 && *text == '0'))
		return false;
	for (size_t i = 0; i < len; i++)
	{
		if (text[i] < '0' || text[i] > '9')
			return false;
		*number = *number * 10 + (unsigned) (text[i] - '0');
	}
	return true;
}

bool
ut_address_parse(const char *text, size_t len, uint8_t *address)
{
	const char *close = len > 0 && *text == '[' ? memchr(text, ']', len) : NULL;
	const char *colon = len > 0 ? memchr(text, ':', len) : NULL;
	unsigned	port = 0;

	if (close != NULL)
	{
		size_t		rest = len - (size_t) (close + 1 - text);

		return (rest == 0 ||
				(close[1] == ':' && parse_number(close + 2, rest - 1, 5, &port) && port <= UINT16_MAX)) &&
			memchr(text, ':', (size_t) (close - text)) != NULL &&
			parse_bare(&text[1], (size_t) (close - &text[1]), address);
	}
	/* one colon is that of a port, since IPv6 has more */
	if (colon != NULL && memchr(colon + 1, ':', len - (size_t) (colon + 1 - text)) == NULL)
	{
		if (!parse_number(colon + 1, len - (size_t) (colon + 1 - text), 5, &port) || port > UINT16_MAX)
			return false;
		len = (size_t) (colon - text);
	}
	return parse_bare(text, len, address);
}

/* Is every bit behind the first so many 0? */
static bool
ends_with_zeros(const UtNetwork *network)
{
	for (unsigned bit = network->bits; bit < 8 * UT_ADDRESS_LEN; bit++)
	{
		if (network->bytes[bit / 8] & (0x80 >> bit % 8))
			return false;
	}
	return true;
}

bool
ut_address_parse_network(const char *text, size_t len, UtNetwork *network)
{
	const char *slash = len > 0 ? memchr(text, '/', len) : NULL;
	size_t		bare = slash == NULL ? len : (size_t) (slash - text);
	unsigned	least = bare > 0 && memchr(text, ':', bare) != NULL ? 0 : UT_ADDRESS_V4_BITS;
	unsigned	bits = 8 * UT_ADDRESS_LEN - least;

	if (!parse_bare(text, bare, network->bytes))
		return false;
	if (slash != NULL && !parse_number(slash + 1, len - bare - 1, 3, &bits))
		return false;
	if (bits > 8 * UT_ADDRESS_LEN - least)
		return false;
	network->bits = (uint8_t) (least + bits);
	return ends_with_zeros(network);
}

bool
ut_address_is_in(const uint8_t *address, const UtNetwork *network)
{
	unsigned	bytes = network->bits / 8;
	unsigned	mask = (0xFF00 >> network->bits % 8) & 0xFF;

	if (is_v4(address) != (network->bits >= UT_ADDRESS_V4_BITS && is_v4(network->bytes)))
		return false;
	return memcmp(address, network->bytes, bytes) == 0 &&
		(mask == 0 || ((address[bytes] ^ network->bytes[bytes]) & mask) == 0);
}

void
ut_address_format_network(const UtNetwork *network, char *shown)
{
	bool		v4 = network->bits >= UT_ADDRESS_V4_BITS && is_v4(network->bytes);
	size_t		len;

	inet_ntop(v4 ? AF_INET : AF_INET6, network->bytes + (v4 ? V4_PLACE : 0), shown, UT_NETWORK_SIZE);
	len = strlen(shown);
	if (network->bits < 8 * UT_ADDRESS_LEN)
		(void) snprintf(shown + len, UT_NETWORK_SIZE - len, "/%u",
						network->bits - (v4 ? UT_ADDRESS_V4_BITS : 0u));
}
