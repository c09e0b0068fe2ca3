/*-------------------------------------------------------------------------
 *
 * address.h
 *	  What does an IP address look like?
 *
 * An address has 16 bytes: IPv6 as it is, IPv4 behind ::ffff:0:0/96, so that
 * both ways of writing an IPv4 address give the same one (RFC 4291, 2.5.5.2).
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_ADDRESS_H
#define UT_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UT_ADDRESS_LEN 16
#define UT_ADDRESS_V4_BITS 96	/* in front of the 32 of an IPv4 address */

/* As many characters as a network can have, and the NUL. */
#define UT_NETWORK_SIZE 50

/* The addresses that have the first so many bits in common; the others are 0. */
typedef struct UtNetwork
{
	uint8_t		bytes[UT_ADDRESS_LEN];
	uint8_t		bits;			/* of 128 */
} UtNetwork;

/*
 * Read an address as proxies write it: 192.0.2.1, 192.0.2.1:443, 2001:db8::1,
 * [2001:db8::1] or [2001:db8::1]:443.  Nothing is left out or guessed: no
 * blanks, no zones, no octal digits.
 */
extern bool ut_address_parse(const char *text, size_t len, uint8_t *address);

/*
 * Read an address with or without /bits.  False also when one of the bits
 * behind those is set: it is not told then which of both was meant.
 */
extern bool ut_address_parse_network(const char *text, size_t len, UtNetwork *network);

/* Is the address one of the network?  ::/0 has no IPv4 address. */
extern bool ut_address_is_in(const uint8_t *address, const UtNetwork *network);

/* As text in UT_NETWORK_SIZE bytes, without the bits when it is one address. */
extern void ut_address_format_network(const UtNetwork *network, char *shown);

#endif							/* UT_ADDRESS_H */
