/*-------------------------------------------------------------------------
 *
 * unit_address.c
 *	  Tests of src/text/address.c: what is an address, what is a network, and
 *	  which address is in which.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "../../src/text/address.h"
#include "unit.h"

static bool
parse(const char *text, uint8_t *address)
{
	return ut_address_parse(text, strlen(text), address);
}

/* Two ways of writing one address, or NULL for what is none. */
static void
check_addresses(void)
{
	static const char *const same[][2] = {
		{"192.0.2.1", "::ffff:192.0.2.1"}, {"192.0.2.1", "::FFFF:c000:201"}, {"192.0.2.1:443", "192.0.2.1"},
		{"192.0.2.1:0", "192.0.2.1"}, {"192.0.2.1:65535", "192.0.2.1"}, {"[::1]", "::1"}, {"[::1]:80", "::1"},
		{"[::ffff:192.0.2.1]:80", "192.0.2.1"}, {"2001:DB8:0:0::1", "2001:db8::1"}, {"0.0.0.0", "::ffff:0:0"},
	};
	static const char *const none[] = {
		"", " ", "1", "1.2.3", "1.2.3.4.5", "1.2.3.256", "01.2.3.4", "0x1.2.3.4", "1.2.3.4 ", " 1.2.3.4", "1.2.3.4:", "1.2.3.4:x",
		"1.2.3.4:65536", "1.2.3.4:080", "1.2.3.4:-1", "1.2.3.4/32", "[1.2.3.4]", "[1.2.3.4]:80", "[::1", "::1]", "[::1]80", "[::1]:", "[::1]:x",
		"[]", "[", "::1%lo", "fe80::1%eth0", "1:2:3:4:5:6:7:8:9", ":::", "::g", "unknown", "_hidden", "localhost", "for=1.2.3.4",
		"1.2.3.4,5.6.7.8", "\"1.2.3.4\"", "::1.2.3.4.5", "1111:2222:3333:4444:5555:6666:123.123.123.1234",
	};
	uint8_t		a[UT_ADDRESS_LEN];
	uint8_t		b[UT_ADDRESS_LEN];

	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++)
		CHECK(parse(same[i][0], a) && parse(same[i][1], b) && memcmp(a, b, UT_ADDRESS_LEN) == 0);
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
		CHECK_NOTE(!parse(none[i], a), none[i]);
	CHECK(!ut_address_parse("1.2.3.4\0", 8, a));
}

static void
check_networks(void)
{
	/* as sent, and as shown; NULL: refused */
	static const char *const networks[][2] = {
		{"10.0.0.0/8", "10.0.0.0/8"}, {"10.1.2.3", "10.1.2.3"}, {"10.1.2.3/32", "10.1.2.3"}, {"0.0.0.0/0", "0.0.0.0/0"},
		{"::ffff:10.0.0.0/104", "10.0.0.0/8"}, {"::ffff:0:0/96", "0.0.0.0/0"}, {"::/0", "::/0"}, {"::/95", "::/95"},
		{"2001:DB8::/32", "2001:db8::/32"}, {"2001:db8::7/128", "2001:db8::7"}, {"128.0.0.0/1", "128.0.0.0/1"},
		{"10.0.0.1/8", NULL}, {"10.0.0.0/33", NULL}, {"10.0.0.0/", NULL}, {"10.0.0.0/08", NULL}, {"10.0.0.0/8/8", NULL}, {"/8", NULL},
		{"10.0.0.0/+8", NULL}, {"10/8", NULL}, {"::1/64", NULL}, {"::/129", NULL}, {"::ffff:10.0.0.0/8", NULL}, {"[::1]", NULL}, {"1.2.3.4:80", NULL},
		{"", NULL}, {"10.0.0.0/255.0.0.0", NULL}, {"10.0.0.0/00", NULL}, {"10.0.0.0/0", NULL},
	};
	UtNetwork	network;
	char		shown[UT_NETWORK_SIZE];

	for (size_t i = 0; i < sizeof(networks) / sizeof(networks[0]); i++)
	{
		bool		is_one = ut_address_parse_network(networks[i][0], strlen(networks[i][0]), &network);

		CHECK_NOTE(is_one == (networks[i][1] != NULL), networks[i][0]);
		if (!is_one)
			continue;
		ut_address_format_network(&network, shown);
		CHECK_NOTE(strcmp(shown, networks[i][1]) == 0, shown);
	}
}

/* Every prefix of an address has it, and has not what differs in its last bit. */
static void
check_prefixes(const char *text, unsigned least)
{
	UtNetwork	network;
	uint8_t		address[UT_ADDRESS_LEN];
	uint8_t		other[UT_ADDRESS_LEN];

	CHECK(parse(text, address));
	for (unsigned bits = least; bits <= 128; bits++)
	{
		memset(&network, 0, sizeof(network));
		network.bits = (uint8_t) bits;
		for (unsigned bit = 0; bit < bits; bit++)
			network.bytes[bit / 8] |= address[bit / 8] & (0x80 >> bit % 8);
		CHECK(ut_address_is_in(address, &network));
		if (bits == least)
			continue;
		memcpy(other, address, sizeof(other));
		other[(bits - 1) / 8] ^= 0x80 >> (bits - 1) % 8;
		CHECK(!ut_address_is_in(other, &network));
	}
}

/* Neither kind of address is in a network of the other, how wide that may be. */
static void
check_kinds(void)
{
	UtNetwork	v4;
	UtNetwork	v6;
	uint8_t		address[UT_ADDRESS_LEN];

	CHECK(ut_address_parse_network("0.0.0.0/0", 9, &v4) && ut_address_parse_network("::/0", 4, &v6));
	CHECK(parse("192.0.2.1", address) && ut_address_is_in(address, &v4) && !ut_address_is_in(address, &v6));
	CHECK(parse("::ffff:192.0.2.1", address) && ut_address_is_in(address, &v4) && !ut_address_is_in(address, &v6));
	CHECK(parse("2001:db8::1", address) && !ut_address_is_in(address, &v4) && ut_address_is_in(address, &v6));
	CHECK(parse("::192.0.2.1", address) && !ut_address_is_in(address, &v4) && ut_address_is_in(address, &v6));
}

int
main(void)
{
	check_addresses();
	check_networks();
	check_prefixes("192.0.2.213", 96);
	check_prefixes("2001:db8:1234:5678:9abc:def0:1357:2468", 0);
	check_kinds();
	return unit_end();
}
