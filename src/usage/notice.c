/*-------------------------------------------------------------------------
 *
 * notice.c
 *	  How long before a token expires is that told, and to whom?
 *
 * To the events, once for each number of days, and in the same transaction to
 * whoever listens.
 *
 * Knows no table and no process.
 *
 * Locking: none of its own.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/async.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#include "base/clock.h"
#include "base/compat.h"
#include "store/notice.h"
#include "text/datetime.h"
#include "usage/notice.h"

#define BATCH 500				/* tokens that are told of in one transaction,
								 * for each number of days */
#define CHANNEL "unleash_tokens"
#define MESSAGES 100			/* more tokens than that have one message */
#define NAME_MAX_SENT 1000		/* bytes; escaped six times as many, and a
								 * message may have 8,000 */

/* Sorted; what the check hook makes of the setting. */
typedef struct Days
{
	int			count;
	int			days[UT_NOTICES];
} Days;

static char *expiry_notice = NULL;
static const Days *notice_days = NULL;

/* ---- The setting ---- */

static int
compare_days(const void *a, const void *b)
{
	return *(const int *) a - *(const int *) b;
}

/* A number from 1 to the greatest there may be, or 0: digits and nothing else. */
static int
read_number(const char *name)
{
	int			number = 0;

	for (; *name >= '0' && *name <= '9' && number <= UT_NOTICE_DAYS_MAX; name++)
		number = number * 10 + (*name - '0');
	return *name == '\0' && number <= UT_NOTICE_DAYS_MAX ? number : 0;
}

static bool
read_days(const char *setting, Days *list)
{
	List	   *names;
	ListCell   *cell;

	list->count = 0;
	if (!SplitGUCList(pstrdup(setting), ',', &names))
		return false;
	foreach(cell, names)
	{
		if (list->count == UT_NOTICES)
			return false;
		list->days[list->count] = read_number(lfirst(cell));
		if (list->days[list->count++] == 0)
			return false;
	}
	qsort(list->days, list->count, sizeof(int), compare_days);
	for (int i = 1; i < list->count; i++)
	{
		if (list->days[i] == list->days[i - 1])
			return false;
	}
	return true;
}

static bool
check_expiry_notice(char **value, void **extra, GucSource source)
{
	Days	   *list = ut_guc_malloc(sizeof(Days));

	if (list == NULL)
		return false;
	*extra = list;
	if (read_days(*value, list))
		return true;
	GUC_check_errdetail("Give at most %d different numbers of days from 1 to %d, separated by commas, or nothing.",
						UT_NOTICES, UT_NOTICE_DAYS_MAX);
	return false;
}

static void
assign_expiry_notice(const char *value, void *extra)
{
	notice_days = extra;
}

void
ut_notice_init(void)
{
	DefineCustomStringVariable("unleash_tokens.expiry_notice",
							   "Sets how many days before a token expires that is told.",
							   "Several numbers make several notices; empty: none.",
							   &expiry_notice,
							   "30, 7, 1",
							   PGC_SIGHUP, GUC_LIST_INPUT, check_expiry_notice, assign_expiry_notice, NULL);
}

int
ut_notice_days(const int **days)
{
	*days = notice_days->days;
	return notice_days->count;
}

/* ---- Who is told ---- */

/* What listeners get: {"type", "days", ...} and never a secret. */
static void
begin_message(StringInfo message, int days)
{
	initStringInfo(message);
	appendStringInfo(message, "{\"type\":\"api-token-expiring\",\"days\":%d,", days);
}

/* A name may be longer than the server takes as a message. */
static void
notify_one(int days, const UtExpiring *expiring)
{
	StringInfoData message;
	char		shown[UT_DATETIME_LEN + 1];
	char	   *name = pnstrdup(expiring->name, pg_mbcliplen(expiring->name, strlen(expiring->name), NAME_MAX_SENT));

	ut_datetime_format(ut_clock_to_ms(expiring->expires_at), shown);
	begin_message(&message, days);
	appendStringInfo(&message, "\"selector\":\"%s\",\"tokenName\":", expiring->selector);
	escape_json(&message, name);
	appendStringInfo(&message, ",\"expiresAt\":\"%s\"}", shown);
	Async_Notify(CHANNEL, message.data);
}

/*
 * The server keeps messages until every listener has read them, and all that
 * notify commit one after the other: of many tokens there is one message, with
 * the first and the last of their events.
 */
static void
notify(int days, const UtExpiring *expiring, int count)
{
	StringInfoData message;

	if (count > MESSAGES)
	{
		begin_message(&message, days);
		appendStringInfo(&message, "\"count\":%d,\"firstEvent\":" INT64_FORMAT ",\"lastEvent\":" INT64_FORMAT "}",
						 count, expiring[0].event, expiring[count - 1].event);
		Async_Notify(CHANNEL, message.data);
		return;
	}
	for (int i = 0; i < count; i++)
		notify_one(days, &expiring[i]);
}

/*
 * Fewer days first, and what they tell of the others leave out: after a long
 * stop, or where nobody was told before, a token has one notice and not three.
 */
bool
ut_notice_tell(void)
{
	const int  *days;
	int			count = ut_notice_days(&days);
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz after = now;

	if (count == 0 || !ut_store_has_notices())
		return false;
	for (int i = 0; i < count; i++)
	{
		TimestampTz before = now + days[i] * USECS_PER_DAY;
		int			told;
		UtExpiring *expiring = ut_store_tell_expiring(days[i], after, before, BATCH, &told);

		notify(days[i], expiring, told);
		if (told == BATCH)
			return true;
		after = before;
	}
	return false;
}
