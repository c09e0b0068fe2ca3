/*-------------------------------------------------------------------------
 *
 * contact.c
 *	  Is this server still one of those that agree?
 *
 * A standby whose primary is out of reach, and a primary whose standbys are, do
 * not know whether another server is the primary by now.  With max_silence they
 * say nothing once they have heard nothing for so long.
 *
 * The time of the last sign is the server's own: of the last message that its
 * WAL receiver got, or the one that a standby put into its last reply.  A WAL
 * receiver that starts anew forgets it, so what was seen at a check is kept in
 * shared memory; a check that nobody made leaves none, and then silence is
 * declared too early, never too late.
 *
 * Knows no tables and no tokens.  The locking rule is in contact.h.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "access/xlog.h"
#include "port/atomics.h"
#include "replication/syncrep.h"
#include "replication/walreceiver.h"
#include "replication/walsender.h"
#include "replication/walsender_private.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "base/contact.h"

static int	max_silence = 0;	/* ms; 0: for ever */

/* When another server was heard last, as a TimestampTz; NULL when not preloaded. */
static pg_atomic_uint64 *heard = NULL;

void
ut_contact_init(void)
{
	DefineCustomIntVariable("unleash_tokens.max_silence",
							"Sets how long tokens are accepted after the last sign of the other servers.",
							"On a standby of its primary, on a primary with synchronous_standby_names of these. 0 means for ever.",
							&max_silence,
							0, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
}

Size
ut_contact_size(void)
{
	return sizeof(pg_atomic_uint64);
}

void
ut_contact_start(void)
{
	bool		found;

	heard = ShmemInitStruct("unleash_tokens contact", ut_contact_size(), &found);
	if (!found)
		pg_atomic_init_u64(heard, 0);
}

/* A WAL receiver says that it streams before it is connected; what it may show it has got. */
static TimestampTz
hear_primary(void)
{
	TimestampTz at = 0;

	SpinLockAcquire(&WalRcv->mutex);
	if (WalRcv->ready_to_display && WalRcv->walRcvState == WALRCV_STREAMING)
		at = WalRcv->lastMsgReceiptTime;
	SpinLockRelease(&WalRcv->mutex);
	return at;
}

static TimestampTz
hear_standbys(void)
{
	TimestampTz at = 0;

	for (int i = 0; i < max_wal_senders; i++)
	{
		WalSnd	   *sender = &WalSndCtl->walsnds[i];

		SpinLockAcquire(&sender->mutex);
		if (sender->pid != 0 && sender->state == WALSNDSTATE_STREAMING && sender->sync_standby_priority > 0)
			at = Max(at, sender->replyTime);
		SpinLockRelease(&sender->mutex);
	}
	return at;
}

/* The later one of what is heard now and what was heard before. */
static TimestampTz
last_sign(TimestampTz at)
{
	uint64		before = heard == NULL ? 0 : pg_atomic_read_u64(heard);

	while (heard != NULL && (TimestampTz) before < at &&
		   !pg_atomic_compare_exchange_u64(heard, &before, (uint64) at))
		;						/* another one has brought a time: look again */
	return Max((TimestampTz) before, at);
}

bool
ut_contact_permit(UtProblem *problem)
{
	bool		is_standby;

	if (max_silence == 0)
		return true;
	is_standby = RecoveryInProgress();
	if (!is_standby && (SyncRepStandbyNames == NULL || *SyncRepStandbyNames == '\0'))
		return true;
	if (!TimestampDifferenceExceeds(last_sign(is_standby ? hear_primary() : hear_standbys()),
									GetCurrentTimestamp(), max_silence))
		return true;
	return ut_problem_set(problem, UT_PROBLEM_UNAVAILABLE, NULL,
						  "Nothing was heard from the other servers for longer than unleash_tokens.max_silence.");
}
