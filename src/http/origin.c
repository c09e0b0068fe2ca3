/*-------------------------------------------------------------------------
 *
 * origin.c
 *	  From which address does a request come?
 *
 * A header is believed as far as it was written by who is trusted.  Each proxy
 * adds the address of whom it talks with at the end of X-Forwarded-For: read
 * from there, the first one that is no trusted proxy is the client's, and what
 * stands before it may be anything.
 *
 * Knows no token and no table.  Locking: none.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/formatting.h"
#include "utils/guc.h"

#include "base/compat.h"
#include "http/origin.h"

/* Networks in the order of the setting; what the check hook makes of it. */
typedef struct Proxies
{
	int			count;
	UtNetwork	networks[FLEXIBLE_ARRAY_MEMBER];
} Proxies;

static char *address_header = NULL;
static char *trusted_proxies = NULL;
static const Proxies *proxies = NULL;

#define BLANKS " \t"

static bool
check_header(char **value, void **extra, GucSource source)
{
	if ((*value)[strspn(*value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")] == '\0')
		return true;
	GUC_check_errdetail("Give the name of one HTTP header, or nothing.");
	return false;
}

static bool
read_proxies(const char *setting, Proxies *list)
{
	for (const char *at = setting + strspn(setting, BLANKS ","); *at != '\0'; at += strspn(at, BLANKS ","))
	{
		size_t		len = strcspn(at, BLANKS ",");

		if (!ut_address_parse_network(at, len, &list->networks[list->count++]))
			return false;
		at += len;
	}
	return true;
}

/* A network has two characters at least, with what separates it from the next one. */
static bool
check_proxies(char **value, void **extra, GucSource source)
{
	Proxies    *list = ut_guc_malloc(offsetof(Proxies, networks) + (strlen(*value) / 2 + 1) * sizeof(UtNetwork));

	if (list == NULL)
		return false;
	list->count = 0;
	*extra = list;
	if (read_proxies(*value, list))
		return true;
	GUC_check_errdetail("Give addresses or networks such as 10.0.0.0/8, separated by commas.");
	return false;
}

static void
assign_proxies(const char *value, void *extra)
{
	proxies = extra;
}

void
ut_origin_init(void)
{
	DefineCustomStringVariable("unleash_tokens.guard_address_header",
							   "Sets the header that tells guard() where a request comes from.",
							   "The nearest proxy must write it in any case. Empty: it is not known.",
							   &address_header, "",
							   PGC_SUSET, 0, check_header, NULL, NULL);
	DefineCustomStringVariable("unleash_tokens.guard_trusted_proxies",
							   "Sets whose addresses in that header are those of proxies, not of clients.",
							   NULL,
							   &trusted_proxies, "",
							   PGC_SUSET, GUC_LIST_INPUT, check_proxies, assign_proxies, NULL);
}

const uint8 *
ut_origin_read(const char *text, size_t len)
{
	uint8	   *address = palloc(UT_ADDRESS_LEN);

	return ut_address_parse(text, len, address) ? address : NULL;
}

const uint8 *
ut_origin_of_request(const UtHeaders *headers)
{
	const char *value = ut_headers_get(headers, "x-original-address");

	return value == NULL ? NULL : ut_origin_read(value, strlen(value));
}

static bool
is_proxy(const uint8 *address)
{
	for (int i = 0; proxies != NULL && i < proxies->count; i++)
	{
		if (ut_address_is_in(address, &proxies->networks[i]))
			return true;
	}
	return false;
}

/* Several headers of the name come as one, in their order, with commas between them. */
static const uint8 *
find_client(const char *list)
{
	const char *end = list + strlen(list);
	const uint8 *address = NULL;

	for (;;)
	{
		const char *start = end;
		const char *last = end;

		while (start > list && start[-1] != ',')
			start--;
		end = start - 1;
		start += strspn(start, BLANKS);
		while (last > start && strchr(BLANKS, last[-1]) != NULL)
			last--;
		address = ut_origin_read(start, last - start);
		if (address == NULL || !is_proxy(address) || end < list)
			return address;
	}
}

const uint8 *
ut_origin_of_guard(const UtHeaders *headers)
{
	char	   *name;
	const char *value;

	if (*address_header == '\0')
		return NULL;
	/* PostgREST writes names in lower case */
	name = asc_tolower(address_header, strlen(address_header));
	value = ut_headers_get(headers, name);
	return value == NULL ? NULL : find_client(value);
}

/* By the server's own function: the struct behind it needs headers of GSSAPI. */
const uint8 *
ut_origin_of_session(void)
{
	LOCAL_FCINFO(fcinfo, 0);
	Datum		address;
	char	   *host;

	InitFunctionCallInfoData(*fcinfo, NULL, 0, InvalidOid, NULL, NULL);
	address = inet_client_addr(fcinfo);
	if (fcinfo->isnull)
		return NULL;
	host = TextDatumGetCString(DirectFunctionCall1(network_host, address));
	return ut_origin_read(host, strlen(host));
}
