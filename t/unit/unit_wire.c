/*-------------------------------------------------------------------------
 *
 * unit_wire.c
 *	  Does src/text/wire.c take the texts of HTTP apart as the RFCs have it?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "../../src/text/wire.h"
#include "unit.h"

/* A copy of exact size, so that a read past its end is seen. */
static char *
exact_copy(const char *text, size_t len)
{
	char	   *copy = malloc(len > 0 ? len : 1);

	if (len > 0)
		memcpy(copy, text, len);
	return copy;
}

static UtMedia
media(const char *text, size_t len)
{
	char	   *copy = exact_copy(text, len);
	UtMedia		answer = ut_wire_media(copy, len);

	free(copy);
	return answer;
}

/* What the real server was seen to say, then the grammar's corners. */
static const struct
{
	const char *text;
	UtMedia		media;
}			media_cases[] = {

	/* recorded */
	{"application/json", UT_MEDIA_JSON},
	{"application/json;charset=utf-8", UT_MEDIA_JSON},
	{"application/json; charset=utf-8", UT_MEDIA_JSON},
	{"APPLICATION/JSON", UT_MEDIA_JSON},
	{"application/json; charset=foo", UT_MEDIA_CHARSET},
	{"", UT_MEDIA_OTHER},
	{"text/plain", UT_MEDIA_OTHER},
	{"application/vnd+json", UT_MEDIA_OTHER},
	{"application/vnd.api+json", UT_MEDIA_OTHER},
	{"application/json, text/plain", UT_MEDIA_OTHER},
	{"application/xml", UT_MEDIA_OTHER},
	{"text/html; charset=utf-8", UT_MEDIA_OTHER},
	{"application/x-www-form-urlencoded", UT_MEDIA_OTHER},
	{"multipart/form-data; boundary=x", UT_MEDIA_OTHER},
	{"*/*", UT_MEDIA_OTHER},
	{"text/json", UT_MEDIA_OTHER},
	{"application/json-patch+json", UT_MEDIA_OTHER},
	{"application/json; charset=latin1", UT_MEDIA_CHARSET},
	/* names of UTF-8 and of others */
	{"application/json; charset=UTF8", UT_MEDIA_JSON},
	{"Application/Json; CharSet=Utf-8", UT_MEDIA_JSON},
	{"application/json; charset=\"utf-8\"", UT_MEDIA_JSON},
	{"application/json; charset=\"u\\tf-\\8\"", UT_MEDIA_JSON},
	{"application/json; charset=\"utf-8 \"", UT_MEDIA_CHARSET},
	{"application/json; charset=\"\"", UT_MEDIA_CHARSET},
	{"application/json; charset=utf-16", UT_MEDIA_CHARSET},
	{"application/json; charset=utf", UT_MEDIA_CHARSET},
	{"application/json; charset=utf-80", UT_MEDIA_CHARSET},
	{"application/json; charset=utf88", UT_MEDIA_CHARSET},
	{"application/json; charset=utf-8utf-8utf-8", UT_MEDIA_CHARSET},
	{"application/json; charset=utf_8", UT_MEDIA_CHARSET},
	{"application/json; charset='utf-8'", UT_MEDIA_CHARSET},
	/* the last one counts */
	{"application/json; charset=x; charset=utf-8", UT_MEDIA_JSON},
	{"application/json; charset=utf-8; charset=x", UT_MEDIA_CHARSET},
	{"application/json; charset=x; xcharset=utf-8", UT_MEDIA_CHARSET},
	{"application/json; charsets=x; char=y", UT_MEDIA_JSON},
	/* other parameters, blanks, empty parameters */
	{"application/json; q=0.5; version=\"1; charset=x\"", UT_MEDIA_JSON},
	{"application/json; a=\"\\\"; charset=x\"", UT_MEDIA_JSON},
	{"application/json; a=\"\\\\\"; charset=x", UT_MEDIA_CHARSET},
	{" \tapplication/json\t ;\t charset=utf-8 \t", UT_MEDIA_JSON},
	{"application/json;", UT_MEDIA_JSON},
	{"application/json ; ;; a=b ;", UT_MEDIA_JSON},
	{"application/json;!#$%&'*+-.^_`|~09azAZ=x", UT_MEDIA_JSON},
	{"application/json; a=\"\t\x80\xff~\"", UT_MEDIA_JSON},
	/* malformed */
	{"application/json; charset", UT_MEDIA_OTHER},
	{"application/json; charset=", UT_MEDIA_OTHER},
	{"application/json; =utf-8", UT_MEDIA_OTHER},
	{"application/json; charset =utf-8", UT_MEDIA_OTHER},
	{"application/json; charset= utf-8", UT_MEDIA_OTHER},
	{"application/json; charset=utf-8 x", UT_MEDIA_OTHER},
	{"application/json; charset=\"utf-8", UT_MEDIA_OTHER},
	{"application/json; charset=\"utf-8\\\"", UT_MEDIA_OTHER},
	{"application/json; charset=\"utf-8\\", UT_MEDIA_OTHER},
	{"application/json; charset=\"utf-8\"x", UT_MEDIA_OTHER},
	{"application/json; charset=x\"utf-8\"", UT_MEDIA_OTHER},
	{"application/json; charset=utf-8, text/plain", UT_MEDIA_OTHER},
	{"application/json; charset=utf-8,", UT_MEDIA_OTHER},
	{"application/json; a=\"\x01\"", UT_MEDIA_OTHER},
	{"application/json; a=\"\x7f\"", UT_MEDIA_OTHER},
	{"application/json; a=\"\\\n\"", UT_MEDIA_OTHER},
	{"application/json; a=\xc3\xbc", UT_MEDIA_OTHER},
	{"application/json charset=utf-8", UT_MEDIA_OTHER},
	{"application/json\n", UT_MEDIA_OTHER},
	{"application/json;\ncharset=utf-8", UT_MEDIA_OTHER},
	{"application/json/", UT_MEDIA_OTHER},
	{"application/jsonx", UT_MEDIA_OTHER},
	{"application/jso", UT_MEDIA_OTHER},
	{"application /json", UT_MEDIA_OTHER},
	{"application/ json", UT_MEDIA_OTHER},
	{"xapplication/json", UT_MEDIA_OTHER},
	{"application", UT_MEDIA_OTHER},
	{"json", UT_MEDIA_OTHER},
	{"application/j\xc5\xbfon", UT_MEDIA_OTHER},
	{"application\x0fjson", UT_MEDIA_OTHER},
	{" ", UT_MEDIA_OTHER},
	{";", UT_MEDIA_OTHER},
};

static void
test_media(void)
{
	size_t		i;

	for (i = 0; i < sizeof(media_cases) / sizeof(media_cases[0]); i++)
		CHECK_NOTE(media(media_cases[i].text, strlen(media_cases[i].text)) ==
				   media_cases[i].media, media_cases[i].text);

	CHECK(ut_wire_media(NULL, 0) == UT_MEDIA_OTHER);
	CHECK(media("application/json\0", 17) == UT_MEDIA_OTHER);
	CHECK(media("application/json;a=b\0", 21) == UT_MEDIA_OTHER);
	CHECK(media("application/json;a=\"\0\"", 22) == UT_MEDIA_OTHER);
}

/* Every byte as a parameter's name, its value and inside its quotes. */
static void
test_every_byte(void)
{
	static const char marks[] = "!#$%&'*+-.^_`|~";
	char		text[] = "application/json;?=a;a=?;a=\"?\"";
	int			c;

	for (c = 0; c < 256; c++)
	{
		bool		token = c != 0 && strchr(marks, c) != NULL;
		bool		quoted = c == '\t' || (c >= 32 && c != 127 && c != '"' &&
										   c != '\\');

		token = token || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
			(c >= 'a' && c <= 'z');
		text[17] = (char) c;
		CHECK((media(text, 20) == UT_MEDIA_JSON) == token);
		text[17] = 'a';
		text[23] = (char) c;
		CHECK((media(text, 24) == UT_MEDIA_JSON) == token);
		text[23] = 'a';
		text[28] = (char) c;
		CHECK((media(text, 30) == UT_MEDIA_JSON) == quoted);
	}
}

static void
test_identity(void)
{
	static const char *const yes[] = {
		"", " ", "\t \t", "identity", "IDENTITY", "Identity", " identity\t"
	};
	static const char *const no[] = {
		"gzip", "foo", "identit", "identityx", "identity x", "identity,",
		"identity, gzip", "gzip, identity", ",", ";", "identity;q=1", "*",
		"x-identity", "identity\n", "\n", "br", "deflate"
	};
	size_t		i;

	for (i = 0; i < sizeof(yes) / sizeof(yes[0]); i++)
		CHECK_NOTE(ut_wire_is_identity(yes[i], strlen(yes[i])), yes[i]);
	for (i = 0; i < sizeof(no) / sizeof(no[0]); i++)
		CHECK_NOTE(!ut_wire_is_identity(no[i], strlen(no[i])), no[i]);
	CHECK(ut_wire_is_identity(NULL, 0));
	CHECK(!ut_wire_is_identity("\0", 1));
	CHECK(!ut_wire_is_identity("identity\0", 9));
	CHECK(ut_wire_is_identity("identityx", 8));
}

/* Once into room of exact size, once in place; expected NULL = refused. */
static void
check_unescape(const char *text, size_t len, const char *expected)
{
	char	   *copy = exact_copy(text, len);
	char	   *out = malloc(len + 1);
	char	   *same = malloc(len + 1);
	size_t		outlen = 4711;
	size_t		same_len = 4711;

	memset(out, 'x', len + 1);
	if (len > 0)
		memcpy(same, text, len);
	CHECK_NOTE(ut_wire_unescape(copy, len, out, &outlen) ==
			   (expected != NULL), text);
	CHECK_NOTE(ut_wire_unescape(same, len, same, &same_len) ==
			   (expected != NULL), text);
	CHECK_NOTE(outlen == (expected ? strlen(expected) : 4711), text);
	CHECK_NOTE(same_len == outlen, text);
	if (expected != NULL)
	{
		CHECK_NOTE(strcmp(out, expected) == 0, text);
		CHECK_NOTE(strcmp(same, expected) == 0, text);
	}
	free(copy);
	free(out);
	free(same);
}

static void
test_unescape(void)
{
	static const char *const cases[][2] = {
		{"", ""},
		{"abc", "abc"},
		{"a+b", "a+b"},
		{"%41", "A"},
		{"%2f%2F", "//"},
		{"%25", "%"},
		{"%2541", "%41"},
		{"a%20b%", NULL},
		{"%", NULL},
		{"%4", NULL},
		{"%%41", NULL},
		{"%4%31", NULL},
		{"n%ZZ", NULL},
		{"%4g", NULL},
		{"%g4", NULL},
		{"% 4", NULL},
		{"%+4", NULL},
		{"%-1", NULL},
		{"%0x41", NULL},
		{"%:0", NULL},
		{"%@0", NULL},
		{"%`0", NULL},
		{"%0/", NULL},
		{"%00", NULL},
		{"a%00b", NULL},
		{"%c3%bC", "\xc3\xbc"},
		{"%FF%fe", "\xff\xfe"},
		{"%01%7f", "\x01\x7f"},
		{"\xc3\xbc?#&=%3F", "\xc3\xbc?#&=?"},
		{"%u0041", NULL},
		{"*:development.%76", "*:development.v"},
	};
	size_t		i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		check_unescape(cases[i][0], strlen(cases[i][0]), cases[i][1]);
	check_unescape("a\0b", 3, NULL);
	check_unescape("%4\0", 3, NULL);
}

/* Every pair of bytes behind a '%'. */
static void
test_every_escape(void)
{
	static const char digits[] = "0123456789abcdefABCDEF";
	char		text[3] = "%";
	char		out[4];
	size_t		outlen;
	int			high;
	int			low;

	for (high = 0; high < 256; high++)
	{
		for (low = 0; low < 256; low++)
		{
			const char *h = high ? strchr(digits, high) : NULL;
			const char *l = low ? strchr(digits, low) : NULL;
			bool		good = h && l && !(high == '0' && low == '0');
			char		pair[3] = {(char) high, (char) low, '\0'};

			text[1] = (char) high;
			text[2] = (char) low;
			CHECK_NOTE(ut_wire_unescape(text, 3, out, &outlen) == good, pair);
			CHECK_NOTE(!good || (outlen == 1 && out[1] == '\0' &&
								 (unsigned char) out[0] ==
								 strtoul(pair, NULL, 16)), pair);
		}
	}
}

static void
test_path(void)
{
	CHECK(ut_wire_path_len(NULL, 0) == 0);
	CHECK(ut_wire_path_len("/a/b", 4) == 4);
	CHECK(ut_wire_path_len("/a/b", 2) == 2);
	CHECK(ut_wire_path_len("/a?b=/c", 7) == 2);
	CHECK(ut_wire_path_len("/a#b?c", 6) == 2);
	CHECK(ut_wire_path_len("/a?b#c", 6) == 2);
	CHECK(ut_wire_path_len("?", 1) == 0);
	CHECK(ut_wire_path_len("#", 1) == 0);
	CHECK(ut_wire_path_len("/%3F%23", 7) == 7);
	CHECK(ut_wire_path_len("/\0?", 3) == 2);
}

/* expected NULL = there is none. */
static void
check_query(const char *query, const char *name, const char *expected)
{
	size_t		len = strlen(query);
	char	   *copy = exact_copy(query, len);
	size_t		valuelen = 4711;
	const char *value = ut_wire_query(copy, len, name, &valuelen);

	CHECK_NOTE((value != NULL) == (expected != NULL), query);
	if (value != NULL && expected != NULL)
	{
		CHECK_NOTE(value >= copy && value + valuelen <= copy + len, query);
		CHECK_NOTE(valuelen == strlen(expected), query);
		CHECK_NOTE(memcmp(value, expected, valuelen) == 0, query);
	}
	free(copy);
}

static void
test_query(void)
{
	check_query("", "a", NULL);
	check_query("a=1", "a", "1");
	check_query("a=1&a=2", "a", "1");
	check_query("b=2&a=1", "a", "1");
	check_query("b=2&a=1&c=3", "a", "1");
	check_query("a=", "a", "");
	check_query("a=&b", "a", "");
	check_query("a", "a", NULL);
	check_query("a&a=1", "a", "1");
	check_query("ab=1", "a", NULL);
	check_query("ba=1", "a", NULL);
	check_query("ab=1&b=2", "b", "2");
	check_query("A=1", "a", NULL);
	check_query("b=a=1", "a", NULL);
	check_query("b?a=1", "a", NULL);
	check_query("a=b=c", "a", "b=c");
	check_query("a=%26&b=%3D", "a", "%26");
	check_query("%61=1", "a", NULL);
	check_query("&&a=1&&", "a", "1");
	check_query("a;b=1", "b", NULL);
	check_query("a =1", "a", NULL);
	check_query("limit=5&offset=10", "offset", "10");
	check_query("limit=5&offset=10", "off", NULL);
	check_query("offset", "offset=", NULL);
	check_query("a=+1", "a", "+1");
	check_query("=1", "", "1");
}

static void
test_query_edges(void)
{
	size_t		valuelen = 4711;

	CHECK(ut_wire_query(NULL, 0, "a", &valuelen) == NULL);
	CHECK(ut_wire_query("a=1", 1, "a", &valuelen) == NULL);
	CHECK(valuelen == 4711);
	CHECK(ut_wire_query("a=1", 2, "a", &valuelen) != NULL && valuelen == 0);
	CHECK(ut_wire_query("a=1&b=2", 5, "b", &valuelen) == NULL);
}

int
main(void)
{
	test_media();
	test_every_byte();
	test_identity();
	test_unescape();
	test_every_escape();
	test_path();
	test_query();
	test_query_edges();
	return unit_end();
}
